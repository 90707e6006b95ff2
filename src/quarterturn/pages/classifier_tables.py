"""A classifier's figures as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quarterturn.pages.probe_tables import by_labels, with_spread
from quarterturn.pages.tables import Cell, Table
from quarterturn.runs.records import (
    BestEpoch,
    BestEpochs,
    ClassifierResult,
    SeedsSummary,
    Statistic,
)

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


def figures_table(result: ClassifierResult) -> Table:
    """The last epoch, and the best one where an older protocol asks for it."""
    figures = result.figures
    rows: list[list[Cell]] = [[f"last epoch ({result.epoch})", *_cells(figures)]]
    note = _rule(result, [figures["n"]])
    by_class = figures["per_class"]
    if untested := [name for name, accuracy in by_class.items() if accuracy is None]:
        note += (
            f"; {len(untested)} of {len(by_class)} classes have no test image, and are in no "
            f"figure: {', '.join(untested[:10])}"
        )
    overlap = overlap_words(result.test_images_learned_from, result.test_images_learned_with_labels)
    note += f"; {overlap}" if overlap else ""
    if best := result.best_epoch:
        rows.append([f"best epoch ({best.epoch}), paper protocol", *_cells(best.figures)])
        note += _best_words(best)
    return Table("On test images", ["", *MEASURES.values()], rows, note=note)


def classes_table(result: ClassifierResult) -> Table:
    """Every class with its training images, its accuracy, and what it is most taken for."""
    names, confusion = result.class_names, result.figures["confusion"]
    rows: list[list[Cell]] = []
    for c, (name, accuracy) in enumerate(result.figures["per_class"].items()):
        mistaken = [count if other != c else 0 for other, count in enumerate(confusion[c])]
        most = max(range(len(names)), key=mistaken.__getitem__)
        share = mistaken[most] / max(1, sum(confusion[c]))
        rows.append(
            [
                name,
                result.class_counts[c],
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


def seeds_table(summary: SeedsSummary) -> Table:
    """Mean and spread over several trainings."""

    def cells(figures: dict[str, Statistic]) -> list[Cell]:
        return [with_spread(figures[name]) or "none" for name in MEASURES]

    seeds = summary.seeds
    rows: list[list[Cell]] = [["last epoch", len(seeds), *cells(summary.figures)]]
    note = "in %; mean ± standard deviation over the trainings; " + _rule(summary, summary.tested)
    if best := summary.best_epoch:
        rows.append(["best epoch, paper protocol", len(seeds), *cells(best.figures)])
        note += _best_words(best)
    return Table(
        f"On test images, over seeds {seeds[0]} to {seeds[-1]}",
        ["", "n", *MEASURES.values()],
        rows,
        note=note,
    )


def overlap_words(overlap: int | None, with_labels: int | None) -> str:
    """How many test images the run that a training started from was trained on; empty if none.

    Args:
        overlap: As `quarterturn.runs.training_images` counts them; None where that is not known.
        with_labels: Those of them whose label was read.
    """
    if overlap is None:
        return "whether the run it started from was trained on the test images is not known"
    if not overlap:
        return ""
    return f"the run it started from was trained on {by_labels(overlap, with_labels)}"


def _cells(figures: dict[str, Any]) -> list[Cell]:
    groups = ("many", "medium", "few")
    return [
        "none" if name in groups and figures[name] is None else figures[name] for name in MEASURES
    ]


def _rule(result: ClassifierResult | SeedsSummary, tested: Sequence[int]) -> str:
    """What the figures are of: how many test images (of each training), and which groups."""
    least, most = min(tested), max(tested)
    number = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return (
        f"{number} test images: {result.test}; many: classes of more than {result.many} "
        f"training images, few: of fewer than {result.few}; sd: standard deviation of the "
        "accuracy over the classes, and over many, medium and few; calibration error: expected, in "
        "15 bins"
    )


def _best_words(best: BestEpoch | BestEpochs) -> str:
    return (
        f"; the best of {best.evaluated_epochs} evaluated epochs is chosen by top-1 on the test "
        "images themselves, as older papers do: it is too high, and only for comparison with them"
    )
