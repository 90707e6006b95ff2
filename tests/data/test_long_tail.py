import numpy as np
import pytest

from quarterturn import DataError, long_tail_counts, long_tail_indices

CIFAR10 = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 5000))
"""Classes of a collection as large as CIFAR-10's training split."""


def oracle(targets: list[int], factor: float, kind: str, seed: int) -> list[int]:
    """The subset in plain words, in place of NumPy's, but for the legacy generator's shuffle."""
    np.random.seed(seed)  # noqa: NPY002 - the global generator is what the subset was drawn with
    num_classes = max(targets) + 1
    kept = []
    for c in range(num_classes):
        if kind == "exponential":
            share = factor ** (c / (num_classes - 1.0))
        else:
            share = 1.0 if c < num_classes // 2 else factor
        members = np.array([i for i, target in enumerate(targets) if target == c])
        np.random.shuffle(members)  # noqa: NPY002
        kept += members.tolist()[: int(len(targets) / num_classes * share)]
    return kept


class TestCounts:
    def test_cifar10_lt(self):
        counts = long_tail_counts(5000, 10, 0.01)
        assert counts == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
        assert sum(counts) == 12_406

    @pytest.mark.parametrize(
        ("max_count", "num_classes", "factor", "total"),
        [
            (5000, 10, 0.1, 20_431),
            (5000, 10, 0.02, 13_996),
            (500, 100, 0.1, 19_573),
            (500, 100, 0.02, 12_608),
            (500, 100, 0.01, 10_847),
        ],
    )
    def test_totals_of_the_literature(self, max_count, num_classes, factor, total):
        counts = long_tail_counts(max_count, num_classes, factor)
        assert sum(counts) == total
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == round(max_count * factor)  # no image is lost to rounding

    def test_step(self):
        assert long_tail_counts(5000, 10, 0.01, "step") == [5000] * 5 + [50] * 5
        assert long_tail_counts(100, 5, 0.1, kind="step") == [100, 100, 10, 10, 10]

    @pytest.mark.parametrize("kind", ["exponential", "step"])
    def test_a_factor_of_one_is_balance(self, kind):
        assert long_tail_counts(37.5, 4, 1, kind) == [37] * 4

    def test_are_rounded_down(self):
        assert long_tail_counts(10, 2, 0.05) == [10, 0]
        assert long_tail_counts(7.9, 2, 0.5) == [7, 3]

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ((100, 10, 0.0), r"factor is 0\.0; expected a fraction above 0, up to 1"),
            ((100, 10, 1.5), r"factor is 1\.5"),
            ((100, 10, float("nan")), "factor is nan"),
            ((100, 1, 0.1), "num_classes is 1; a long tail needs at least 2"),
            ((-1, 10, 0.1), "max_count is -1; expected 0 or more"),
            ((100, 10, 0.1, "pareto"), "kind is 'pareto'; expected 'exponential' or 'step'"),
        ],
    )
    def test_what_is_out_of_range(self, arguments, told):
        with pytest.raises(ValueError, match=told):
            long_tail_counts(*arguments)


class TestIndices:
    @pytest.mark.parametrize("kind", ["exponential", "step"])
    @pytest.mark.parametrize(("factor", "seed"), [(0.01, 0), (0.1, 0), (0.3, 7), (1.0, 1)])
    def test_against_the_plain_words(self, kind, factor, seed):
        targets = np.random.default_rng(1).permutation(np.repeat(np.arange(7), 60))[:417]
        found = long_tail_indices(targets, factor, kind, seed)
        assert found.dtype == np.int64
        assert found.tolist() == oracle(targets.tolist(), factor, kind, seed)

    def test_cifar10_lt(self):
        found = long_tail_indices(CIFAR10, 0.01)
        assert len(set(found.tolist())) == len(found) == 12_406
        assert np.bincount(CIFAR10[found]).tolist() == long_tail_counts(5000, 10, 0.01)
        assert (np.diff(CIFAR10[found]) >= 0).all()  # class after class

    def test_golden_values(self):
        # The legacy generator is frozen, so these may never change.
        assert long_tail_indices([0, 1] * 4, 0.5).tolist() == [4, 6, 2, 0, 1, 5]

    def test_the_seed_says_which(self):
        one, again, other = (long_tail_indices(CIFAR10, 0.01, seed=s) for s in (1, 1, 2))
        np.testing.assert_array_equal(one, again)
        assert len(other) == len(one)
        assert set(one.tolist()) != set(other.tolist())

    def test_a_class_with_too_few_gives_all(self):
        found = long_tail_indices([0] * 3 + [1] * 37, 1.0)
        assert sorted(found[:3].tolist()) == [0, 1, 2]
        assert len(found) == 3 + 20

    def test_global_random_state_is_untouched(self):
        before = np.random.get_state()[1].copy()  # noqa: NPY002
        long_tail_indices(CIFAR10, 0.01)
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002

    @pytest.mark.parametrize(
        ("targets", "told"),
        [
            ([], "at least 2 classes, found 0"),
            ([0] * 9, "at least 2 classes, found 1"),
            ([0, 1, 4] * 3, "every class, 0 to 4; there are none of class 2, 3"),
            ([0, 1, -1] * 3, "numbers of 0 or more, found -1"),
            ([0, 20], "class 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 9 more"),
        ],
    )
    def test_classes_that_cannot_be_cut(self, targets, told):
        with pytest.raises(DataError, match=told):
            long_tail_indices(targets, 0.1)

    def test_factor_and_kind_are_checked(self):
        with pytest.raises(ValueError, match="factor is 2"):
            long_tail_indices([0, 1], 2)
        with pytest.raises(ValueError, match="kind is 'steps'"):
            long_tail_indices([0, 1], 0.5, "steps")
