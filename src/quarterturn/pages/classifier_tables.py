"""A classifier's figures as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quarterturn.pages.probe_tables import by_labels, with_spread
from quarterturn.pages.tables import Cell, Table

MEASURES = {
    "top1": "top-1",
    "balanced": "balanced",
    "many": "many",
    "medium": "medium",
    "few": "few",
    "worst_class": "worst class",
    "std_over_classes": "sd classes",
    "std_over_groups": "sd groups",
    "calibration_error": "calibration error",
}
"""Figures by their keys, with the headings of their columns."""


def figures_table(results: dict[str, Any]) -> Table:
    """The last epoch, and the best one where an older protocol asks for it.

    Args:
        results: A run's ``results.json``.
    """
    rows: list[list[Cell]] = [
        [f"last epoch ({results['epoch']})", *_cells(results["figures"])],
    ]
    learned = start_words(results)
    note = _rule(results, [results["figures"]["n"]])
    by_class = results["figures"]["per_class"]
    if untested := [name for name, accuracy in by_class.items() if accuracy is None]:
        note += (
            f"; {len(untested)} of {len(by_class)} classes have no test image, and are in no "
            f"figure: {', '.join(untested[:10])}"
        )
    note += f"; {learned}" if learned else ""
    if best := results.get("best_epoch"):
        rows.append([f"best epoch ({best['epoch']}), paper protocol", *_cells(best["figures"])])
        note += _best_words(best)
    return Table("On test images", ["", *MEASURES.values()], rows, note=note)


def classes_table(results: dict[str, Any]) -> Table:
    """Every class with its training images, its accuracy, and what it is most taken for."""
    figures = results["figures"]
    names = list(figures["per_class"])
    rows: list[list[Cell]] = []
    for c, (name, accuracy) in enumerate(figures["per_class"].items()):
        mistaken = [
            count if other != c else 0 for other, count in enumerate(figures["confusion"][c])
        ]
        most = max(range(len(names)), key=mistaken.__getitem__)
        share = mistaken[most] / max(1, sum(figures["confusion"][c]))
        rows.append(
            [
                name,
                results["class_counts"][c],
                accuracy,
                names[most] if mistaken[most] else None,
                share if mistaken[most] else None,
            ]
        )
    return Table(
        "By class",
        ["class", "training images", "accuracy", "most taken for", "share"],
        rows,
        note="the whole confusion matrix is in results.json",
    )


def seeds_table(summary: dict[str, Any]) -> Table:
    """Mean and spread over several trainings.

    Args:
        summary: The ``results.json`` beside the runs.
    """

    def cells(figures: dict[str, Any]) -> list[Cell]:
        return [with_spread(figures[name]) or "none" for name in MEASURES]

    seeds = summary["seeds"]
    rows: list[list[Cell]] = [["last epoch", len(seeds), *cells(summary["figures"])]]
    note = "in %; mean ± standard deviation over the trainings; " + _rule(
        summary, summary["tested"]
    )
    if best := summary.get("best_epoch"):
        rows.append(["best epoch, paper protocol", len(seeds), *cells(best["figures"])])
        note += _best_words(best)
    return Table(
        f"On test images, over seeds {seeds[0]} to {seeds[-1]}",
        ["", "n", *MEASURES.values()],
        rows,
        note=note,
    )


def start_words(results: dict[str, Any]) -> str:
    """What the run that a training began with had learned of the test images; empty if nothing.

    Args:
        results: A run's ``results.json``, or the part of it that
            `quarterturn.runs.training_images.count_trained_on` makes.
    """
    learned = results.get("test_images_learned_from", 0)
    if learned is None:
        return "whether the run it began with has learned from the test images is not known"
    if not learned:
        return ""
    words = by_labels(learned, results["test_images_learned_with_labels"])
    return f"the run it began with has learned from {words}"


def _cells(figures: dict[str, Any]) -> list[Cell]:
    groups = ("many", "medium", "few")
    return [
        "none" if name in groups and figures[name] is None else figures[name] for name in MEASURES
    ]


def _rule(results: dict[str, Any], tested: Sequence[int]) -> str:
    """What the figures are of: how many test images (of each training), and which groups."""
    least, most = min(tested), max(tested)
    number = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return (
        f"{number} test images: {results['test']}; many: classes of more than {results['many']} "
        f"training images, few: of fewer than {results['few']}; sd: standard deviation of the "
        "accuracy over the classes, and over many, medium and few; calibration error: expected, in "
        "15 bins"
    )


def _best_words(best: dict[str, Any]) -> str:
    return (
        f"; the best of {best['evaluated_epochs']} evaluated epochs is chosen by top-1 on the test "
        "images themselves, as older papers do: too high, for comparison with them alone"
    )
