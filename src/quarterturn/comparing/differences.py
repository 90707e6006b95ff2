"""How much better one group of runs is than the first, seed by seed.

Runs of one seed share their order of images and their crops, so differences between them vary less
than the runs do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from quarterturn.comparing.groups import Group
from quarterturn.comparing.tables import one_or_range
from quarterturn.pages.tables import Cell, Table
from quarterturn.runs.comparison_records import GroupScore, PairedDifference
from quarterturn.runs.records import column_of

CONFIDENCE = 0.95
MINUS = "\N{MINUS SIGN}"


def paired_differences(
    groups: Sequence[Group], protocol: str, measure: str
) -> list[PairedDifference]:
    """Differences to the first group over the seeds that both have.

    A part of the features is held against the same part of the first group's; where that has none
    of the name, against its last one.

    Args:
        groups: Runs that differ only in their seed; the first is what others are held against.
        protocol: Short name of the protocol.
        measure: Of the scores.
    """
    first, *others = (group.scores(protocol) for group in groups)
    if first and measure not in first[0].measures:  # images with several labels each, or with one
        measure = next(iter(first[0].measures))
    by_test: dict[tuple[str, str], dict[str, GroupScore]] = {}
    for score in first:
        by_test.setdefault((score.classifier, score.view), {})[score.part] = score
    found = []
    for score in (score for scores in others for score in scores):
        parts = by_test.get((score.classifier, score.view))
        if parts is None or measure not in score.measures:
            continue
        base = parts.get(score.part, [*parts.values()][-1])
        mine, theirs = score.measures[measure].by_seed, base.measures[measure].by_seed
        by_seed = {
            seed: mine[seed] - theirs[seed]  # type: ignore[operator]
            for seed in mine
            if None not in (mine[seed], theirs.get(seed))
        }
        if by_seed:
            mean, half = mean_and_half_interval([*by_seed.values()])
            found.append(
                PairedDifference(
                    group=score.group,
                    part=score.part,
                    against=base.group,
                    against_part=base.part,
                    protocol=protocol,
                    classifier=score.classifier,
                    view=score.view,
                    measure=measure,
                    mean=mean,
                    low=None if half is None else mean - half,
                    high=None if half is None else mean + half,
                    by_seed=by_seed,
                )
            )
    return found


def without_differences(groups: Sequence[Group], protocol: str) -> list[str]:
    """Which groups have no seed in common with the first, in words; arguments as above."""
    first, *others = groups
    theirs = _seeds(first, protocol)
    return [
        f"{group.label} has no differences to {first.label}: no seed in common "
        f"({', '.join(map(str, mine))}; {', '.join(map(str, theirs))})"
        for group in others
        if theirs and (mine := _seeds(group, protocol)) and not set(mine) & set(theirs)
    ]


def _seeds(group: Group, protocol: str) -> list[int]:
    """Of the runs that a protocol has tested."""
    found = (score.measures.values() for score in group.scores(protocol))
    return sorted({seed for measures in found for measure in measures for seed in measure.by_seed})


def mean_and_half_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and half the length of its 95 % confidence interval by Student's t.

    Args:
        values: Differences; for one there is no interval, which is then None.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    return mean, error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))


def difference_table(differences: Sequence[PairedDifference]) -> Table:
    """Differences of one protocol, a row for each part of a group's features."""
    columns = list(dict.fromkeys(column_of(d.classifier, d.view) for d in differences))
    by_row: dict[tuple[str, str, str], dict[str, PairedDifference]] = {}
    for difference in differences:
        row = by_row.setdefault((difference.group, difference.part, difference.against_part), {})
        row[column_of(difference.classifier, difference.view)] = difference
    rows: list[list[Cell]] = []
    for (group, part, against), row in by_row.items():
        shown = [_in_words(row[column]) if column in row else None for column in columns]
        n = one_or_range(len(difference.by_seed) for difference in row.values())
        rows.append([group, part, against, n, *shown])
    return Table(
        f"Differences to {differences[0].against}, seed by seed",
        ["runs", "features", "against", "n", *columns],
        rows,
        note=(
            "in percentage points; mean over the n seeds that both have, and its 95 % confidence "
            "interval by Student's t, which needs two seeds"
        ),
    )


def _in_words(difference: PairedDifference) -> str:
    words = _points(difference.mean)
    if difference.low is None or difference.high is None:
        return words
    return f"{words} ({_points(difference.low)} to {_points(difference.high)})"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", MINUS)
