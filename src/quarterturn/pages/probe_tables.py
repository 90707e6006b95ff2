"""A probe's figures as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from quarterturn.pages.tables import Cell, Table
from quarterturn.runs.comparison_records import GroupScore, GroupStatistic
from quarterturn.runs.records import (
    ProbeResult,
    Score,
    ScoreName,
    Statistic,
    images_per_class,
    statistic,
)
from quarterturn.wording import counted

GROUPS = ("many", "medium", "few")
LAST_COLUMNS = {
    "worst_class": "worst class",
    "std_over_classes": "sd classes",
    "std_over_groups": "sd groups",
}

AP_WORDS = {
    "step": "the average precision of each (area under its precision-recall curve, by steps)",
    "envelope": "the average precision of each (area under the envelope of its precision-recall "
    "curve)",
    "11-point": "the average precision of each (mean of the best precision at 11 recalls)",
}
"""The rules of `quarterturn.average_precision`, after "mean over the classes of"."""


def is_few_shot(result: ProbeResult) -> bool:
    """Whether a probe's classifiers were trained on a few images of each class."""
    return "draws" in result.protocol


def main_table(result: ProbeResult) -> Table:
    """The table that shows a result by its protocol."""
    return few_shot_table(result) if is_few_shot(result) else probe_table(result)


def tables_of(result: ProbeResult) -> list[Table]:
    """The main table, and the groups' where there are several; few-shot classes are all alike."""
    if result.has_several_labels and not is_few_shot(result):
        return [main_table(result), classes_table(result)]
    groups = None if is_few_shot(result) else groups_table(result)
    return [main_table(result)] + ([] if groups is None else [groups])


def probe_table(result: ProbeResult) -> Table:
    """Representations by classifiers and views, top-1 with balanced accuracy beside it."""
    protocol = result.protocol
    columns = list(dict.fromkeys(name.column for name in result.names))
    rows: dict[str, dict[str, Cell]] = {}
    for score in result.scores:
        rows.setdefault(score.name.features, {})[score.name.column] = _figure(score)
    measured = "top-1 (balanced) accuracy in %"
    if result.has_several_labels:
        measured = _mean_precision(result) + _choice(protocol)
    name = protocol["name"]
    return Table(
        "Probes on frozen features" if name == "frozen-features" else f"Probes by {name}",
        ["features", *columns],
        [[features, *map(cells.get, columns)] for features, cells in rows.items()],
        note=(
            f"{measured}; {training_images(protocol, result.names)}; "
            f"{_tested(result)}; n = {_seeds(protocol)}"
            + (f"; left out: {result.left_out}" if result.left_out else "")
            + _circumstances(result)
        ),
    )


def few_shot_table(result: ProbeResult) -> Table:
    """Representations and views by K, the number of labelled images of each class; top-1 or mAP."""
    protocol, measure = result.protocol, "top1"
    measured = (
        "top-1 accuracy in %; logistic regression, C chosen among the labelled images (1 for K = 1)"
    )
    if result.has_several_labels:
        measure = "mean_ap"
        measured = f"{_mean_precision(result)}; linear SVMs of K images with the class and "
        measured += f"{protocol['negatives_per_positive']} K without it{_choice(protocol)}"
    cells: dict[tuple[str, str], dict[int, Cell]] = {}
    for score in result.scores:
        row = cells.setdefault((score.name.features, score.view), {})
        row[images_per_class(score.classifier)] = with_spread(score.measures[measure])
    shots = sorted({k for row in cells.values() for k in row})
    draws, seeds = protocol["draws"], len(protocol["seeds"])
    note = (
        f"{measured}; {_tested(result)}; ± is the standard deviation over n = {draws * seeds} "
        f"draws of the labelled images, {draws} for each of {_seeds(protocol)}; every class has K"
    )
    if result.left_out:
        note += f"; left out: {result.left_out}"
    return Table(
        "Few-shot: by the number K of labelled images of each class",
        ["features", "view", *map(str, shots)],
        [[features, view, *map(row.get, shots)] for (features, view), row in cells.items()],
        note=note + _circumstances(result),
    )


def groups_table(result: ProbeResult) -> Table | None:
    """Accuracy over classes with many, medium and few training images; None where all are one."""
    protocol = result.protocol
    used = [g for g in GROUPS if any(s.measures[g].mean is not None for s in result.scores)]
    if len(used) < 2:
        return None
    rows: list[list[Cell]] = []
    for score in result.scores:
        cells: list[Cell] = [score.name.features, score.name.column]
        cells += [with_spread(score.measures[group]) or "none" for group in GROUPS]
        # Probes of the first version had no standard deviations.
        last = [score.measures.get(measure, Statistic(None)) for measure in LAST_COLUMNS]
        rows.append([*cells, *(with_spread(value) for value in last)])
    return Table(
        "By the number of training images of a class",
        ["features", "classifier", *GROUPS, *LAST_COLUMNS.values()],
        rows,
        note=(
            f"mean accuracy of the classes in %; many: more than {protocol['many']} training "
            f"images, few: fewer than {protocol['few']}; sd: standard deviation over the classes, "
            f"and over many, medium and few; n = {_seeds(protocol)}"
        ),
    )


def classes_table(result: ProbeResult) -> Table:
    """Average precision of every class on upright test images, beside its chance."""
    scores = [score for score in result.scores if score.view == "upright"]
    prevalence = _means([metrics["prevalence"] for metrics in scores[0].repeats])
    by_score = [_means([metrics["per_class"] for metrics in s.repeats]) for s in scores]
    rows: list[list[Cell]] = [
        [name, chance, *(found[name] for found in by_score)] for name, chance in prevalence.items()
    ]
    several = len({score.classifier for score in scores}) > 1
    headings = [
        score.name.features + (f", {score.classifier}" if several else "") for score in scores
    ]
    return Table(
        "Average precision by class",
        ["class", "prevalence", *headings],
        rows,
        note="on upright test images; prevalence: share of the test images that have the class, "
        f"which is the AP of guessing; n = {_seeds(result.protocol)}",
    )


def _mean_precision(result: ProbeResult) -> str:
    metrics = result.scores[0].repeats[0]
    chance = 100 * np.mean([*metrics["prevalence"].values()])
    by_class = f"mean over the classes of {AP_WORDS[metrics['rule']]}"
    return f"mAP in %: {by_class}; guessing gives {chance:.1f}"


def _choice(protocol: dict[str, Any]) -> str:
    """By what a cost was chosen; empty where none was."""
    if "cost_chosen_on" not in protocol:
        return ""
    if protocol["cost_chosen_on"] == "test images":
        return (
            "; one cost for each K is chosen on the test images themselves, as the paper's code "
            "does: it is too high, and only for comparison with the paper"
        )
    return "; each class has the cost with the best AP on training folds"


def _means(repeats: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """The mean over repeats for each class; None where one of them has none."""
    return {name: statistic([by_class[name] for by_class in repeats]).mean for name in repeats[0]}


def training_images(protocol: dict[str, Any], names: Iterable[ScoreName | GroupScore]) -> str:
    """How many images the classifiers were trained on.

    Args:
        protocol: Of the probe.
        names: Of the scores. The name of a trained classifier that had the first K images of each
            class ends in K.
    """
    words = f"{protocol['training_images']:,} upright training images"
    trained = protocol.get("head")
    if trained and any(name.classifier != trained for name in names):
        words += f", {trained}-K of the first K of each class"
    return words


def with_spread(statistic: Statistic | GroupStatistic) -> str | None:
    """``55.1 ± 0.4``, in percent; None where there is no figure."""
    if statistic.mean is None:
        return None
    spread = "" if statistic.spread is None else f" ± {100 * statistic.spread:.1f}"
    return f"{100 * statistic.mean:.1f}{spread}"


def by_labels(overlap: int, with_labels: int | None) -> str:
    """``12 of the test images, 5 of them with labels``.

    Args:
        overlap: Test images that a run was trained on, at least one.
        with_labels: Those whose label it read too; None where that is not known, as in results of
            earlier versions.
    """
    words = f"{overlap:,} of the test images"
    if with_labels is None:
        return words
    if with_labels in (0, overlap):
        return f"{words}, {'with' if with_labels else 'without'} labels"
    return f"{words}, {with_labels:,} of them with labels"


def _seeds(protocol: dict[str, Any]) -> str:
    return counted(len(protocol["seeds"]), "seed")


def _tested(result: ProbeResult) -> str:
    return f"{result.protocol['test_images']:,} test images: {result.test}"


def _circumstances(result: ProbeResult) -> str:
    """How far the run was trained, and what it has seen of the test images, where that matters."""
    note = ""
    if result.epochs_done < result.epochs:
        note = f"; trained for {result.epochs_done:.3g} of {counted(result.epochs, 'epoch')} so far"
    overlap = result.test_images_learned_from
    if overlap is None:
        note += "; it is not known whether the run was trained on them"
    elif overlap:
        words = by_labels(overlap, result.test_images_learned_with_labels)
        note += f"; the run was trained on {words}"
    return note


def _figure(score: Score) -> str | None:
    if "mean_ap" in score.measures:
        return with_spread(score.measures["mean_ap"])
    balanced = score.measures["balanced"].mean
    assert balanced is not None  # every test has images
    return f"{with_spread(score.measures['top1'])} ({100 * balanced:.1f})"
