import numpy as np
import pytest

from quarterturn.data.subsets import (
    draw_per_class,
    first_of_each_class,
    hold_out,
    limit_images,
    stratified_split,
)

from .numbered_images import numbered, numbers_of


class TestLimit:
    @pytest.mark.parametrize("limit", [None, 50, 51])
    def test_no_limit(self, limit):
        images = numbered(50)
        assert limit_images(images, limit) is images

    def test_is_a_random_part_in_order(self):
        found = numbers_of(limit_images(numbered(1000), 100))
        assert len(found) == 100
        assert found == sorted(set(found))
        assert abs(np.mean(found) - 500) < 4 * 289 / 10  # from all over, not the first ones
        assert found != list(range(100))

    def test_is_always_the_same_and_grows(self):
        few, again, more = (numbers_of(limit_images(numbered(300), n)) for n in (20, 20, 60))
        assert few == again
        assert set(few) < set(more)


class TestHoldOut:
    def test_parts_the_images(self):
        train, held = hold_out(numbered(200), 0.1, 1000)
        one, other = numbers_of(train), numbers_of(held)
        assert len(other) == 20
        assert sorted(one + other) == list(range(200))
        assert (one, other) == (sorted(one), sorted(other))

    def test_is_always_the_same(self):
        assert numbers_of(hold_out(numbered(200), 0.1, 1000)[1]) == numbers_of(
            hold_out(numbered(200), 0.1, 1000)[1]
        )

    @pytest.mark.parametrize(("n", "fraction", "held"), [(79, 0.1, 8), (74, 0.1, None)])
    def test_fewer_than_8_are_not_held_out(self, n, fraction, held):
        images = numbered(n)
        train, other = hold_out(images, fraction, None)
        if held is None:
            assert other is None
            assert train is images
        else:
            assert (len(train), len(other)) == (n - held, held)

    def test_nothing_is_held_out_on_request(self):
        assert hold_out(numbered(500), 0.0, None)[1] is None

    def test_at_most_1000(self):
        train, held = hold_out(numbered(3000), 0.5, 1000)
        assert (len(train), len(held)) == (2000, 1000)


class TestStratifiedSplit:
    def test_every_class_in_proportion(self):
        labels = np.repeat([0, 1, 2, 5], [100, 40, 7, 2])
        train, test = stratified_split(np.random.default_rng(0).permutation(labels), 0.2, seed=0)
        assert sorted([*train, *test]) == list(range(149))

    def test_counts(self):
        labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 5], [100, 40, 7, 2]))
        train, test = stratified_split(labels, 0.2, seed=0)
        assert np.bincount(labels[test]).tolist() == [20, 8, 1]  # 2 of class 5 give none
        assert np.bincount(labels[train]).tolist() == [80, 32, 6, 0, 0, 2]
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()

    def test_the_seed_says_which(self):
        labels = np.repeat([0, 1], 50)
        one, again, other = (stratified_split(labels, 0.2, seed)[1].tolist() for seed in (1, 1, 2))
        assert one == again
        assert one != other
        assert set(one) != set(range(10)) | set(range(50, 60))


class TestFirstOfEachClass:
    LABELS = np.array([2, 0, 2, 1, 1, 0, 2, 0, 1, 2, 3, 3, 3])

    @pytest.mark.parametrize(
        ("k", "expected"),
        [
            (1, [0, 1, 3, 10]),
            (2, [0, 1, 2, 3, 4, 5, 10, 11]),
            (3, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12]),  # all but the fourth of class 2
        ],
    )
    def test_in_the_order_of_the_data(self, k, expected):
        assert first_of_each_class(self.LABELS, 4, k).tolist() == expected

    def test_are_none_where_a_class_has_fewer(self):
        assert first_of_each_class(self.LABELS, 4, 4) is None
        assert first_of_each_class(self.LABELS, 5, 1) is None  # of one class there is none

    def test_is_a_loop(self, rng):
        labels = rng.integers(0, 7, 500)
        counts, expected = dict.fromkeys(range(7), 0), []
        for i, label in enumerate(labels.tolist()):
            counts[label] += 1
            if counts[label] <= 20:
                expected.append(i)
        assert first_of_each_class(labels, 7, 20).tolist() == expected


class TestDrawPerClass:
    LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [40, 20, 3]))

    def test_classes_are_equal_where_they_have_enough(self) -> None:
        drawn = draw_per_class(self.LABELS, 5, seed=0)
        assert np.bincount(self.LABELS[drawn]).tolist() == [5, 5, 3]
        assert (np.diff(drawn) > 0).all()

    def test_more_images_are_added_to_fewer(self) -> None:
        few, more = (draw_per_class(self.LABELS, n, seed=0) for n in (5, 12))
        assert set(few) < set(more)

    def test_the_seed_draws_others(self) -> None:
        one, other = (draw_per_class(self.LABELS, 5, seed=seed) for seed in (0, 1))
        assert set(one) != set(other)
        np.testing.assert_array_equal(one, draw_per_class(self.LABELS, 5, seed=0))
