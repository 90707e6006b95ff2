"""Which images are suggested, on points in the plane and on mixtures made for the tests."""

from __future__ import annotations

import numpy as np
import pytest

from quarterturn.collection.suggestions import Suggestion, suggest
from quarterturn.collection.uncertainty import Uncertainty

SIZES = [40, 30, 20, 10]


@pytest.fixture
def groups(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Four tight groups of directions, and the group of each."""
    group = np.repeat(np.arange(4), SIZES)
    values = 0.05 * rng.normal(size=(100, 12))
    values[np.arange(100), group] += 1
    return values.astype(np.float32), group


def places(found: list[Suggestion]) -> list[int]:
    return [one.place for one in found]


NONE = np.zeros(100, bool)


class TestCentres:
    """Without a classifier."""

    def test_each_group_has_one_the_largest_first(self, groups):
        values, group = groups
        found = suggest(values, NONE, 4)
        assert group[places(found)].tolist() == [0, 1, 2, 3]
        assert [one.cluster_size for one in found] == SIZES
        assert all(one.margin is None for one in found)
        directions = values / np.linalg.norm(values, axis=1, keepdims=True)
        of_first = directions[group == 0]
        distance = np.linalg.norm(of_first - of_first.mean(axis=0), axis=1)
        assert found[0].place == np.flatnonzero(group == 0)[distance.argmin()]

    def test_groups_with_a_label_are_left_out(self, groups):
        values, group = groups
        labelled = NONE.copy()
        labelled[[3, 75]] = True  # of the groups 0 and 2
        found = suggest(values, labelled, 2)
        assert not labelled[places(found)].any()
        assert 2 not in group[places(found)[:1]]
        assert {1, 3} & set(group[places(found)])

    def test_copies_count_once_and_not_beside_a_label(self, groups):
        values, _ = groups
        copies = np.concatenate([values, values + 1e-5])
        found = places(suggest(copies, np.zeros(200, bool), 60))
        assert len(found) == 60
        assert len({place % 100 for place in found}) == 60
        labelled = np.zeros(200, bool)
        labelled[100:] = True
        labelled[[100, 150]] = False
        assert set(places(suggest(copies, labelled, 10))) == {0, 50}

    def test_the_same_seed_gives_the_same(self, groups):
        values, _ = groups
        assert suggest(values, NONE, 20, seed=3) == suggest(values, NONE, 20, seed=3)

    def test_there_may_be_fewer_than_asked_for(self, groups):
        values, _ = groups
        assert len(suggest(values, NONE, 500)) == 100
        assert len(suggest(np.repeat(values[:3], 20, axis=0), np.zeros(60, bool), 10)) == 3


class TestUncertain:
    """With a classifier."""

    def test_they_are_unsure_and_spread(self, groups):
        values, group = groups
        margins = np.full(100, 0.95, np.float32)
        unsure = np.flatnonzero(np.arange(100) % 5 == 0)  # of every group
        margins[unsure] = 0.1
        found = suggest(values, NONE, 2, margins=margins)
        assert set(places(found)) <= set(unsure)
        assert len(set(group[places(found)])) == 2
        assert [one.margin for one in found] == pytest.approx([0.1, 0.1])

    def test_labelled_and_unreadable_ones_are_left_out(self, groups):
        values, _ = groups
        margins = np.linspace(0, 1, 100, dtype=np.float32)
        margins[0] = np.nan
        labelled = np.arange(100) == 1
        found = places(suggest(values, labelled, 5, margins=margins))
        assert not {0, 1} & set(found)
        assert max(found) <= 52  # the pool: ten for each of the five

    def test_margins_of_one_label_and_of_several(self):
        probabilities = np.array([[0.5, 0.3, 0.2], [0.9, 0.06, 0.04]], np.float32)
        one = Uncertainty(probabilities, ["cat", "dog", "cow"])
        np.testing.assert_allclose(one.margins, [0.2, 0.84], atol=1e-6)
        assert one.words(0) == "uncertain: cat 50.0 %, dog 30.0 %"
        several = Uncertainty(np.array([[0.9, 0.4, 0.02]]), ["cat", "dog", "cow"], True)
        np.testing.assert_allclose(several.margins, [0.2], atol=1e-6)
        assert several.words(0) == "uncertain: dog 40.0 %"
