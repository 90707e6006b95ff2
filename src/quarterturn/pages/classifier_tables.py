"""A classifier's figures as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from quarterturn.pages.probe_tables import AP_WORDS, by_labels, with_spread
from quarterturn.pages.tables import Cell, Table, percent
from quarterturn.runs.classifier_results import (
    BestEpoch,
    BestEpochs,
    ClassifierResult,
    SeedsSummary,
)
from quarterturn.runs.records import Statistic

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

SEVERAL_LABELS = {"mean_ap": "mAP", "worst_class": "worst class"}
"""The same, where images have several labels each."""


def measures_of(figures: dict[str, Any]) -> dict[str, str]:
    """The figures that are shown of those of a test, with the headings of their columns."""
    return SEVERAL_LABELS if "mean_ap" in figures else MEASURES


def brief_words(figures: dict[str, Any]) -> str:
    """The most important figures on one line."""
    shown = ("mean_ap",) if "mean_ap" in figures else ("top1", "balanced")
    words = [f"{measures_of(figures)[name]} {_percent(figures[name])}" for name in shown]
    worst = f"worst class {figures['worst_class_name']} {_percent(figures['worst_class'])}"
    return ", ".join([*words, worst])


def _percent(value: float | None) -> str:
    return "none" if value is None else percent(value)


def figures_table(result: ClassifierResult) -> Table:
    """The last epoch, and the best one where an older protocol asks for it."""
    figures = result.figures
    tested = f"last epoch ({result.epoch})" if result.solution is None else "solved"
    rows: list[list[Cell]] = [[tested, *_cells(figures)]]
    note = _rule(result, [figures["n"]])
    by_class = figures["per_class"]
    if untested := [name for name, accuracy in by_class.items() if accuracy is None]:
        note += (
            f"; {len(untested)} of {len(by_class)} classes have no test image, and are in no "
            f"figure: {', '.join(untested[:10])}"
        )
    if (one_crop := figures.get("one_crop")) is not None:
        note += f"; by the mean logits of several random crops, and {percent(one_crop)} by one"
    overlap = overlap_words(result.test_images_learned_from, result.test_images_learned_with_labels)
    note += f"; {overlap}" if overlap else ""
    if best := result.best_epoch:
        rows.append([f"best epoch ({best.epoch}), paper protocol", *_cells(best.figures)])
        note += _best_words(best, figures)
    return Table("On test images", ["", *measures_of(figures).values()], rows, note=note)


def classes_table(result: ClassifierResult) -> Table:
    """Every class with its training images, its accuracy, and what it is most taken for.

    Where images have several labels each, average precision beside its chance.
    """
    if "mean_ap" in result.figures:
        return _average_precisions_table(result)
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


def _average_precisions_table(result: ClassifierResult) -> Table:
    figures = result.figures
    rows: list[list[Cell]] = [
        [name, count, figures["per_class"][name], figures["prevalence"][name]]
        for name, count in zip(result.class_names, result.class_counts, strict=True)
    ]
    return Table(
        "By class",
        ["class", "training images", "AP", "prevalence"],
        rows,
        note="AP: area under the precision-recall curve, by steps; prevalence: share of the test "
        "images that have the class, which is the AP of guessing",
    )


def seeds_table(summary: SeedsSummary) -> Table:
    """Mean and spread over several trainings."""

    def cells(figures: dict[str, Statistic]) -> list[Cell]:
        return [with_spread(figures[name]) or "none" for name in shown]

    seeds, shown = summary.seeds, measures_of(summary.figures)
    tested = "solved" if summary.is_solved else "last epoch"
    rows: list[list[Cell]] = [[tested, len(seeds), *cells(summary.figures)]]
    note = "in %; mean ± standard deviation over the trainings; " + _rule(summary, summary.tested)
    if best := summary.best_epoch:
        rows.append(["best epoch, paper protocol", len(seeds), *cells(best.figures)])
        note += _best_words(best, summary.figures)
    return Table(
        f"On test images, over seeds {seeds[0]} to {seeds[-1]}",
        ["", "n", *shown.values()],
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
        "none" if name in groups and figures[name] is None else figures[name]
        for name in measures_of(figures)
    ]


def _rule(result: ClassifierResult | SeedsSummary, tested: Sequence[int]) -> str:
    """What the figures are of: how many test images (of each training), and which groups."""
    least, most = min(tested), max(tested)
    number = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    if "mean_ap" in result.figures:
        return (
            f"{number} test images: {result.test}; mAP: mean over the classes of "
            f"{AP_WORDS['step']}{_chance(result.figures)}"
        )
    return (
        f"{number} test images: {result.test}; many: classes of more than {result.many} "
        f"training images, few: of fewer than {result.few}; sd: standard deviation of the "
        "accuracy over the classes, and over many, medium and few; calibration error: expected, in "
        "15 bins"
    )


def _chance(figures: dict[str, Any]) -> str:
    """What guessing gives; not said of several trainings, whose test images may differ."""
    if "prevalence" not in figures:
        return ""
    return f"; guessing gives {percent(float(np.mean([*figures['prevalence'].values()])))}"


def _best_words(best: BestEpoch | BestEpochs, figures: dict[str, Any]) -> str:
    first = next(iter(measures_of(figures).values()))
    return (
        f"; the best of {best.evaluated_epochs} evaluated epochs is chosen by {first} on the test "
        "images themselves, as older papers do: it is too high, and only for comparison with them"
    )
