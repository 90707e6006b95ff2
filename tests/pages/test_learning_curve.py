from __future__ import annotations

from typing import Any

from quarterturn.pages.learning_curve import RunPoints, learning_curve, learning_curves


def lines_of(*parts: str, images: str = "a") -> list[dict[str, Any]]:
    """Two quick probes, of 10 and 20 epochs of 100 images."""
    return [
        {"epoch": 10 * i, "images_seen": 1000 * i, "chance": 0.1, "images": images, "of": "birds"}
        | {f"knn20_{part}_{view}": 0.2 * i for part in parts for view in ("upright", "turned")}
        for i in (1, 2)
    ]


def test_a_curve_is_over_images_and_epochs() -> None:
    assert learning_curve([]) is None
    figure = learning_curve(lines_of("rotation", "invariant", "both"))
    assert figure is not None
    assert figure.data["images_seen"] == [1000, 2000]
    assert figure.data["epochs_done"] == [10, 20]
    assert figure.data["knn20_invariant_turned"] == [0.2, 0.4]
    assert figure.data["chance"] == 0.1
    assert figure.caption.startswith("Quick, on the way; not a probe's result: kNN-20 of birds")
    assert "invariant half upright 40.0 %" in figure.alt
    assert "guessing 10.0 %" in figure.alt


def test_runs_are_drawn_in_one_figure() -> None:
    runs = [
        RunPoints("decoupling", lines_of("rotation", "invariant", "both")),
        RunPoints("rotnet", lines_of("whole")),
        RunPoints("never probed", []),
    ]
    (figure,) = learning_curves(runs)
    drawn = {(c["group"], c["part"], c["view"]) for c in figure.data["curves"]}
    assert drawn == {
        (group, part, view)
        for group, part in [
            ("decoupling", "invariant"),
            ("decoupling", "both"),
            ("rotnet", "whole"),
        ]
        for view in ("upright", "turned")
    }
    assert all(c["images_seen"] == [1000, 2000] for c in figure.data["curves"])
    assert learning_curves(runs[2:]) == []


def test_runs_probed_on_other_images_have_another_figure() -> None:
    runs = [RunPoints("a", lines_of("whole")), RunPoints("b", lines_of("whole", images="b"))]
    assert [figure.name for figure in learning_curves(runs)] == [
        "learning_curves",
        "learning_curves-2",
    ]
