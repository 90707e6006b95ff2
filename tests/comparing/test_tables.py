from __future__ import annotations

from pathlib import Path

from quarterturn.comparing.groups import Group
from quarterturn.comparing.probed_runs import ProbedRun
from quarterturn.comparing.tables import comparison_table
from quarterturn.methods.configuration import Config
from quarterturn.runs import Run
from quarterturn.runs.records import MEASURES, ProbeResult, Score, Statistic

PROTOCOL = {
    "name": "frozen-features",
    "training_images": 80,
    "test_images": 20,
    "seeds": [0, 1],
}


def probed(seed: int, top1: float, **learned: int | None) -> ProbedRun:
    """A run with a probe that says what it has learned from."""
    run = Run(Path(f"run-{seed}"), "photos", Config().with_settings(seed=seed), "abc")
    measures = dict.fromkeys(MEASURES, Statistic(top1))
    result = ProbeResult(
        run=f"run-{seed}",
        epochs=1,
        epochs_done=1,
        data="photos",
        name="photos",
        test="the split 'test'",
        weights="",
        protocol=PROTOCOL,
        protocol_id="cafe",
        scores=(Score("trained", "both", "knn-20", "upright", measures),),
        **learned,
    )
    return ProbedRun(run, {"cafe": result}, [])


def learned(total: int | None, with_labels: int | None) -> dict[str, int | None]:
    return {"test_images_learned_from": total, "test_images_learned_with_labels": with_labels}


def test_groups_are_rows_with_their_spread_over_runs() -> None:
    group = Group("ours", [probed(0, 0.5, **learned(0, 0)), probed(1, 0.75, **learned(0, 0))])
    table = comparison_table([group], "cafe", PROTOCOL, "top1")
    assert table.cells() == [["ours", "both", "2", "62.5 ± 17.7"]]
    assert table.note.endswith("differ only in their seed")


def test_reports_seen_test_images_of_each_group() -> None:
    earlier = {"test_images_learned_from": 9}  # a result that does not tell of labels
    groups = [
        Group("plain", [probed(0, 0.5, **learned(7, 0)), probed(1, 0.5, **learned(3, 0))]),
        Group("labelled", [probed(0, 0.5, **learned(9, 0)), probed(1, 0.5, **learned(8, 8))]),
        Group("clean", [probed(0, 0.5, **learned(0, 0))]),
        Group("earlier", [probed(0, 0.5, **earlier)]),
        Group("unknown", [probed(0, 0.5, **learned(None, None))]),
    ]
    assert comparison_table(groups, "cafe", PROTOCOL, "top1").note.endswith(
        "in their seed; plain was trained on 7 of the test images, without labels"
        "; labelled was trained on 8 of the test images, with labels"
        "; earlier was trained on 9 of the test images"
    )
