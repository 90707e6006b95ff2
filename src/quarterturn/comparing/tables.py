"""Tables of runs side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from quarterturn.comparing.groups import Group
from quarterturn.pages.probe_tables import by_labels, training_images, with_spread
from quarterturn.pages.tables import Cell, Table
from quarterturn.runs.comparison_records import GroupStatistic
from quarterturn.runs.protocols import CLASSIFIER, DETECTOR
from quarterturn.runs.records import ProbeResult, column_of, statistic
from quarterturn.wording import counted

TITLES = {
    "top1": "top-1 accuracy",
    "balanced": "balanced accuracy",
    "worst_class": "accuracy of the worst class",
    "many": "accuracy of the classes with many training images",
    "medium": "accuracy of the classes with a medium number of training images",
    "few": "accuracy of the classes with few training images",
    "std_over_classes": "standard deviation of the accuracy over the classes",
    "std_over_groups": "standard deviation of the accuracy over many, medium and few",
    "mean_ap": "mean average precision (mAP)",
}


def comparison_table(
    groups: Sequence[Group], protocol_id: str, protocol: dict[str, Any], measure: str
) -> Table:
    """Groups and parts of their features by classifiers and views, for one protocol."""
    scores = [score for group in groups for score in group.scores(protocol_id)]
    if measure not in scores[0].measures:  # images with several labels each, or with one
        measure = next(iter(scores[0].measures))
    words = next(
        p.probes[protocol_id].test for g in groups for p in g.runs if protocol_id in p.probes
    )
    columns = list(dict.fromkeys(column_of(score.classifier, score.view) for score in scores))
    by_row: dict[tuple[str, str], dict[str, GroupStatistic]] = {}
    for score in scores:
        row = by_row.setdefault((score.group, score.part), {})
        row[column_of(score.classifier, score.view)] = score.measures[measure]
    rows: list[list[Cell]] = []
    for (label, part), row in by_row.items():
        n = one_or_range(statistic.n for statistic in row.values())
        shown = [with_spread(row[column]) if column in row else None for column in columns]
        rows.append([label, part, n, *shown])
    seeds = len(protocol["seeds"])
    repeats = f"its mean over {counted(seeds, 'seed')} of the probe"
    if "draws" in protocol:
        repeats += f" and {protocol['draws']} draws for each"
    title = f"Probes by protocol {protocol['name']} {protocol_id}"
    if protocol["name"] == CLASSIFIER:
        repeats, title = "its last epoch", f"Classifiers {protocol_id}"
    if protocol["name"] == DETECTOR:
        repeats = "its last iteration, at 11 points, the rule of VOC2007"
        title = f"Detectors {protocol_id}"
    return Table(
        f"{title}: {TITLES[measure]}",
        ["runs", "features", "n", *columns],
        rows,
        note=(
            f"in %; {training_images(protocol, scores)}, "
            f"{protocol['test_images']:,} test images: {words}; each run by "
            f"{repeats}; ± is the standard deviation over n runs "
            "that differ only in their seed" + _overlaps(groups, protocol_id)
        ),
    )


def _overlaps(groups: Sequence[Group], protocol_id: str) -> str:
    """A warning where runs were trained on test images; of each group the worst one."""
    warnings = []
    for group in groups:
        found = [p.probes[protocol_id] for p in group.runs if protocol_id in p.probes]
        if group.origin == "trained" and found:
            worst = max(found, key=_with_labels_first)
            overlap = worst.test_images_learned_from
            if overlap:
                words = by_labels(overlap, worst.test_images_learned_with_labels)
                warnings.append(f"{group.label} was trained on {words}")
    return "".join(f"; {words}" for words in warnings)


def one_or_range(numbers: Iterable[int]) -> Cell:
    """A number that all have, or the lowest and the highest."""
    found = sorted(set(numbers))
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _with_labels_first(result: ProbeResult) -> tuple[int, int]:
    return result.test_images_learned_with_labels or 0, result.test_images_learned_from or 0


def training_table(groups: Sequence[Group]) -> Table:
    """How long each group was trained, and what its diagnostics say in the end."""
    rows: list[list[Cell]] = []
    for group in groups:
        run = group.runs[0].run
        if group.origin != "trained" or run.untrained or run.imported is not None:
            continue
        train = [(p.run.read_metrics("train") or [{}])[-1] for p in group.runs]
        last = [(p.run.read_metrics("diagnostics") or [{}])[-1] for p in group.runs]
        seconds = statistic([line.get("elapsed_s") for line in train]).mean
        length: Cell = run.config.run.epochs
        if run.config.method.counts_iterations:
            length = f"{train[0].get('step', -1) + 1:,} iterations"
        row: list[Cell] = [group.label, len(group.runs), length]
        row.append(None if seconds is None else seconds / 60)
        row.append(statistic([line.get("loss") for line in train]).mean)
        for measure in ("rotation_accuracy", "leakage_fresh_head", "spread"):
            row.append(with_spread(statistic([line.get(measure) for line in last])))
        rows.append(row)
    return Table(
        "Trainings",
        ["runs", "n", "epochs", "minutes", "loss", "rotation", "leakage", "spread"],
        rows,
        note=(
            "rotation: accuracy on held-out images; leakage: of a fresh linear head that reads the "
            "turn off the invariant half, 25 is chance; spread of the embeddings; all in %"
        ),
        plain=("minutes", "loss"),
    )
