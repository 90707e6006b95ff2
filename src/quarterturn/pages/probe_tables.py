"""A probe's figures as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quarterturn.pages.tables import Cell, Table

GROUPS = ("many", "medium", "few")
LAST_COLUMNS = {
    "worst_class": "worst class",
    "std_over_classes": "sd classes",
    "std_over_groups": "sd groups",
}


def main_table(result: dict[str, Any]) -> Table:
    """The table that shows a result by its protocol."""
    few_shot = result["protocol"]["name"] == "few-shot"
    return few_shot_table(result) if few_shot else probe_table(result)


def tables_of(result: dict[str, Any]) -> list[Table]:
    """The main table, and the groups' where there are several; few-shot classes are all alike."""
    groups = None if result["protocol"]["name"] == "few-shot" else groups_table(result)
    return [main_table(result)] + ([] if groups is None else [groups])


def probe_table(result: dict[str, Any]) -> Table:
    """Representations by classifiers and views, top-1 with balanced accuracy beside it."""
    figures, protocol = result["figures"], result["protocol"]
    columns = list(dict.fromkeys(classifier_and_view(name) for name in figures))
    rows: list[list[Cell]] = []
    for origin, part in dict.fromkeys(tuple(name.split("/", 2)[:2]) for name in figures):
        cells: list[Cell] = [f"{origin}: {part}"]
        for column in columns:
            found = figures.get(f"{origin}/{part}/{column}")
            cells.append(None if found is None else _top1_and_balanced(found))
        rows.append(cells)
    name = protocol["name"]
    return Table(
        "Probes on frozen features" if name == "frozen-features" else f"Probes by {name}",
        ["features", *(c.replace("/upright", "").replace("/", " ") for c in columns)],
        rows,
        note=(
            f"top-1 (balanced) accuracy in %; {learned_from(protocol, columns)}; "
            f"{_tested(result)}; n = {len(protocol['seeds'])} seeds{_circumstances(result)}"
        ),
    )


def few_shot_table(result: dict[str, Any]) -> Table:
    """Representations and views by K, the number of labelled images of each class; top-1."""
    figures, protocol = result["figures"], result["protocol"]
    cells: dict[tuple[str, str, str], dict[int, Cell]] = {}
    for name, found in figures.items():
        origin, part, classifier, view = name.split("/")
        row = cells.setdefault((origin, part, view), {})
        row[int(classifier.removeprefix("few-shot-"))] = with_spread(found["top1"])
    shots = sorted({k for row in cells.values() for k in row})
    draws, seeds = protocol["draws"], len(protocol["seeds"])
    note = (
        "top-1 accuracy in %; logistic regression, C chosen among the labelled images (1 for K = 1)"
        f"; {_tested(result)}; ± is the standard deviation over n = {draws * seeds} draws of the "
        f"labelled images, {draws} for each of {seeds} seeds; every class has K"
    )
    if left_out := result.get("left_out"):
        note += f"; left out: {left_out}"
    return Table(
        "Few-shot: by the number K of labelled images of each class",
        ["features", "view", *map(str, shots)],
        [
            [f"{origin}: {part}", view, *map(row.get, shots)]
            for (origin, part, view), row in cells.items()
        ],
        note=note + _circumstances(result),
    )


def groups_table(result: dict[str, Any]) -> Table | None:
    """Accuracy over classes with many, medium and few training images; None where all are one."""
    figures, protocol = result["figures"], result["protocol"]
    used = [g for g in GROUPS if any(f[g]["mean"] is not None for f in figures.values())]
    if len(used) < 2:
        return None
    rows: list[list[Cell]] = []
    for name, found in figures.items():
        origin, part, rest = name.split("/", 2)
        cells: list[Cell] = [f"{origin}: {part}", rest.replace("/upright", "").replace("/", " ")]
        cells += [with_spread(found[group]) or "none" for group in GROUPS]
        # Probes of the first version had no standard deviations.
        last = [found.get(measure, {"mean": None}) for measure in LAST_COLUMNS]
        rows.append([*cells, *(with_spread(value) for value in last)])
    return Table(
        "By the number of training images of a class",
        ["features", "classifier", *GROUPS, *LAST_COLUMNS.values()],
        rows,
        note=(
            f"mean accuracy of the classes in %; many: more than {protocol['many']} training "
            f"images, few: fewer than {protocol['few']}; sd: standard deviation over the classes, "
            f"and over many, medium and few; n = {len(protocol['seeds'])} seeds"
        ),
    )


def learned_from(protocol: dict[str, Any], columns: Sequence[str]) -> str:
    """How many images the classifiers learned from.

    Args:
        protocol: Of the probe.
        columns: ``<classifier>/<view>``. Of a trained one that had the first K images of each class
            the name ends in K.
    """
    words = f"{protocol['training_images']:,} upright training images"
    trained = protocol.get("head")
    if trained and any(column.split("/")[0] != trained for column in columns):
        words += f", {trained}-K of the first K of each class"
    return words


def classifier_and_view(name: str) -> str:
    """``knn-20/turned`` of ``trained/invariant/knn-20/turned``."""
    return name.split("/", 2)[2]


def with_spread(measure: dict[str, Any]) -> str | None:
    """``55.1 ± 0.4``, in percent; None where there is no figure."""
    if measure["mean"] is None:
        return None
    spread = "" if measure["spread"] is None else f" ± {100 * measure['spread']:.1f}"
    return f"{100 * measure['mean']:.1f}{spread}"


def by_labels(learned: int, with_labels: int | None) -> str:
    """``12 of the test images, 5 of them with labels``.

    Args:
        learned: Test images that a run has learned from, at least one.
        with_labels: Those of which it has read the label as well; None where that is not known, as
            in results of earlier versions.
    """
    words = f"{learned:,} of the test images"
    if with_labels is None:
        return words
    if with_labels in (0, learned):
        return f"{words}, {'with' if with_labels else 'without'} labels"
    return f"{words}, {with_labels:,} of them with labels"


def _tested(result: dict[str, Any]) -> str:
    return f"{result['protocol']['test_images']:,} test images: {result['test']}"


def _circumstances(result: dict[str, Any]) -> str:
    """How far the run was trained, and what it has seen of the test images, where that matters."""
    note = ""
    if result["epochs_done"] < result["epochs"]:
        note = f"; trained for {result['epochs_done']:.3g} of {result['epochs']} epochs so far"
    learned = result["test_images_learned_from"]
    if learned is None:
        note += "; whether the run has learned from them is not known, its data is gone"
    elif learned:
        words = by_labels(learned, result.get("test_images_learned_with_labels"))
        note += f"; the run has learned from {words}"
    return note


def _top1_and_balanced(found: dict[str, Any]) -> str:
    return f"{with_spread(found['top1'])} ({100 * found['balanced']['mean']:.1f})"
