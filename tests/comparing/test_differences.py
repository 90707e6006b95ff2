from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from quarterturn.comparing.differences import (
    difference_table,
    mean_and_half_interval,
    paired_differences,
    without_differences,
)
from quarterturn.runs.comparison_records import GroupScore, GroupStatistic

MINE = {0: 0.62, 1: 0.66, 2: 0.61, 5: 0.9}
FIRST = {0: 0.60, 1: 0.61, 2: 0.60, 7: 0.1}


def group(label, **by_part):
    """A group whose features were tested once, by their figures for each seed."""
    scores = [
        GroupScore(
            label, "p", part, "knn-20", "upright", {"top1": GroupStatistic(None, None, by_seed)}
        )
        for part, by_seed in by_part.items()
    ]
    return SimpleNamespace(label=label, scores=lambda protocol: scores)


def test_interval_is_students_of_the_paired_seeds():
    found = [MINE[seed] - FIRST[seed] for seed in (0, 1, 2)]
    oracle = stats.ttest_rel(
        [MINE[s] for s in (0, 1, 2)], [FIRST[s] for s in (0, 1, 2)]
    ).confidence_interval(0.95)
    mean, half = mean_and_half_interval(found)
    assert (mean - half, mean + half) == pytest.approx((oracle.low, oracle.high))
    assert mean_and_half_interval([0.03]) == (0.03, None)


def test_only_seeds_that_both_have_count():
    groups = [group("first", whole=FIRST), group("other", whole=MINE)]
    (found,) = paired_differences(groups, "p", "top1")
    assert found.by_seed == {s: MINE[s] - FIRST[s] for s in (0, 1, 2)}
    assert found.mean == pytest.approx(np.mean([0.02, 0.05, 0.01]))
    assert (found.group, found.against) == ("other", "first")


def test_nothing_in_common_is_no_difference():
    assert paired_differences([group("first", whole={3: 0.5})], "p", "top1") == []
    groups = [group("first", whole={3: 0.5}), group("other", whole={4: 0.5})]
    assert paired_differences(groups, "p", "top1") == []
    groups = [group("first", whole={3: 0.5}), group("other", whole={3: None})]
    assert paired_differences(groups, "p", "top1") == []


def test_groups_without_a_common_seed_are_named():
    groups = [group("first", whole={3: 0.5, 5: 0.1}), group("other", whole={4: 0.5})]
    groups.append(group("third", whole={5: 0.2}))
    (line,) = without_differences(groups, "p")
    assert line == "other has no differences to first: no seed in common (4; 3, 5)"


def test_columns_of_fewer_seeds_make_a_range():
    groups = [group("first", whole=FIRST), group("other", whole=MINE)]
    for each, by_seed in zip(groups, (FIRST, {0: 0.7}), strict=True):
        (score,) = each.scores("p")
        turned = GroupStatistic(None, None, by_seed)
        each.scores("p").append(replace(score, view="turned", measures={"top1": turned}))
    table = difference_table(paired_differences(groups, "p", "top1"))
    assert table.rows[0][3] == "1 to 3"


def test_parts_are_held_against_their_like_or_the_last():
    groups = [group("first", invariant={0: 0.5}, both={0: 0.7})]
    groups.append(group("other", invariant={0: 0.6}, whole={0: 0.9}))
    found = paired_differences(groups, "p", "top1")
    assert [(d.part, d.against_part, round(d.mean, 3)) for d in found] == [
        ("invariant", "invariant", 0.1),
        ("whole", "both", 0.2),
    ]


def test_table_gives_points_with_their_interval():
    groups = [group("first", whole=FIRST), group("other", whole=MINE)]
    table = difference_table(paired_differences(groups, "p", "top1"))
    mean, half = mean_and_half_interval([0.02, 0.05, 0.01])
    low, high = (
        f"{100 * v:+.1f}".replace("-", "\N{MINUS SIGN}") for v in (mean - half, mean + half)
    )
    assert table.rows == [["other", "whole", "whole", 3, f"+2.7 ({low} to {high})"]]
    assert "first" in table.title
