import numpy as np
import pytest

from quarterturn.config import DataConfig
from quarterturn.data.class_matching import match_classes
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.long_tail import long_tail_counts, long_tail_indices
from quarterturn.data.selection import select_images
from quarterturn.data.subsets import (
    cut_long_tail,
    first_of_each_class,
    hold_out,
    limit_images,
    stratified_split,
)
from quarterturn.errors import DataError


def numbered(n: int) -> ArrayImages:
    """Images whose name, only pixel and label all say their number."""
    numbers = np.arange(n)
    pixels = np.stack([numbers % 256, numbers // 256, 0 * numbers], axis=1).astype(np.uint8)
    return ArrayImages(pixels[:, None, None], [str(i) for i in numbers], numbers, ["class"])


def numbers_of(images: ArrayImages) -> list[int]:
    numbers = [int(name) for name in images.names]
    assert images.labels.tolist() == numbers
    assert (images.pixels[:, 0, 0] @ np.array([1, 256, 0])).tolist() == numbers
    assert len(images.sizes) == len(numbers)
    return numbers


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


class TestLongTail:
    @pytest.fixture
    def data(self, tmp_path) -> str:
        """4 classes of 100 images in no order, each image its own, and a balanced test split."""
        numbers = np.arange(480)
        pixels = np.stack([numbers % 256, numbers // 256, 0 * numbers], axis=1).astype(np.uint8)
        labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 120))
        np.savez(
            tmp_path / "set.npz",
            train_images=pixels[:400, None, None],
            train_labels=labels[:400],
            test_images=pixels[400:, None, None],
            test_labels=labels[400:],
        )
        return str(tmp_path / "set.npz")

    @pytest.mark.parametrize("kind", ["exponential", "step"])
    def test_keeps_the_images_in_their_order(self, data, kind):
        selection = select_images(data, DataConfig(long_tail=0.1, long_tail_kind=kind))
        whole = selection.source.train
        kept = np.sort(long_tail_indices(whole.labels, 0.1, kind))
        assert selection.train.names == [whole.names[i] for i in kept]
        np.testing.assert_array_equal(selection.train.pixels, whole.pixels[kept])
        assert len(kept) < 400
        assert len(whole) == 400

    def test_leaves_the_held_out_images_alone(self, data):
        cut, plain = (select_images(data, DataConfig(long_tail=t)) for t in (0.1, None))
        assert cut.held_out.names == plain.held_out.names
        assert len(cut.held_out) == 80

    def test_comes_before_the_limit(self, data):
        cut = select_images(data, DataConfig(long_tail=0.1))
        few = select_images(data, DataConfig(long_tail=0.1, limit=50))
        assert few.train.names == limit_images(cut.train, 50).names
        assert few.labels_read == cut.labels_read

    def test_says_that_labels_were_read(self, data):
        assert select_images(data, DataConfig()).labels_read == ""
        images = ArrayImages(
            np.zeros((400, 1, 1, 3), np.uint8),
            [str(i) for i in range(400)],
            np.arange(400) % 4,
            list("abcd"),
        )
        kept, words = cut_long_tail(images, 0.001, "exponential")
        assert np.bincount(kept.labels, minlength=4).tolist() == [100, 10, 1, 0]
        assert long_tail_counts(100, 4, 0.001) == [100, 10, 1, 0]
        assert words == (
            "labels were read to cut a long tail (exponential, 0.001): 111 of 400 images, "
            "100 to 0 per class"
        )

    def test_needs_labels(self, tmp_path):
        np.savez(tmp_path / "x.npz", train_images=np.zeros((9, 1, 1), np.uint8))
        with pytest.raises(DataError, match=r"--long-tail 0\.1 reads labels, and these .* none"):
            select_images(str(tmp_path / "x.npz"), DataConfig(long_tail=0.1))

    def test_that_leaves_too_few(self, tmp_path):
        np.savez(
            tmp_path / "x.npz",
            train_images=np.zeros((12, 1, 1), np.uint8),
            train_labels=np.arange(12) % 2,
        )
        with pytest.raises(DataError, match=r"--long-tail 0\.1 leaves 6 training images"):
            select_images(str(tmp_path / "x.npz"), DataConfig(long_tail=0.1))


class TestChosen:
    @pytest.mark.parametrize(("limit", "long_tail"), [(None, None), (60, None), (60, 0.5)])
    def test_is_what_is_left_before_any_are_held_out(self, tmp_path, limit, long_tail):
        np.savez(
            tmp_path / "set.npz",
            train_images=np.arange(200, dtype=np.uint8)[:, None, None],
            train_labels=np.arange(200) % 2,
        )
        settings = DataConfig(limit=limit, long_tail=long_tail, holdout=0.2)
        selection = select_images(str(tmp_path / "set.npz"), settings)
        assert len(selection.chosen) == (limit or 200)
        assert len(selection.held_out) == len(selection.chosen) // 5
        both = {*selection.train.names, *selection.held_out.names}
        assert both == set(selection.chosen.names)
        assert list(selection.chosen.names) == sorted(
            both, key=list(selection.source.train.names).index
        )
        # What is held out does not change it.
        whole = select_images(
            str(tmp_path / "set.npz"), DataConfig(limit=limit, long_tail=long_tail, holdout=0.0)
        )
        assert whole.chosen.fingerprint() == selection.chosen.fingerprint()

    def test_keeps_all_training_images_where_a_test_split_exists(self, tmp_path):
        pixels = np.zeros((20, 2, 2), np.uint8)
        np.savez(tmp_path / "set.npz", train_images=pixels, test_images=pixels)
        selection = select_images(str(tmp_path / "set.npz"), DataConfig(limit=15))
        assert selection.chosen is selection.train
        assert len(selection.chosen) == 15


class TestHoldOut:
    def test_parts_the_images(self):
        train, held = hold_out(numbered(200), 0.1)
        one, other = numbers_of(train), numbers_of(held)
        assert len(other) == 20
        assert sorted(one + other) == list(range(200))
        assert (one, other) == (sorted(one), sorted(other))

    def test_is_always_the_same(self):
        assert numbers_of(hold_out(numbered(200), 0.1)[1]) == numbers_of(
            hold_out(numbered(200), 0.1)[1]
        )

    @pytest.mark.parametrize(("n", "fraction", "held"), [(79, 0.1, 8), (74, 0.1, None)])
    def test_fewer_than_8_are_not_held_out(self, n, fraction, held):
        images = numbered(n)
        train, other = hold_out(images, fraction)
        if held is None:
            assert other is None
            assert train is images
        else:
            assert (len(train), len(other)) == (n - held, held)

    def test_nothing_is_held_out_on_request(self):
        assert hold_out(numbered(500), 0.0)[1] is None

    def test_at_most_1000(self):
        train, held = hold_out(numbered(3000), 0.5)
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


class TestMatchClasses:
    def labelled(self, labels: list[int], class_names: list[str]) -> ArrayImages:
        return ArrayImages(
            np.zeros((len(labels), 1, 1, 3), np.uint8),
            [str(i) for i in range(len(labels))],
            np.array(labels),
            class_names,
        )

    def test_takes_the_numbers_of_the_training_images(self):
        train = self.labelled([0, 1, 2, 3], ["ant", "bee", "cat", "dog"])
        test = self.labelled([1, 0, 0, 1], ["bee", "dog"])
        matched = match_classes(test, train)
        assert matched.labels.tolist() == [3, 1, 1, 3]
        assert matched.class_names == train.class_names
        assert list(matched.names) == list(test.names)
        assert test.labels.tolist() == [1, 0, 0, 1]  # as it was
        assert test.class_names == ["bee", "dog"]

    def test_a_class_that_training_lacks(self):
        train = self.labelled([0, 1], ["ant", "bee"])
        with pytest.raises(DataError, match="missing from the training images: cat, dog"):
            match_classes(self.labelled([0, 1, 2], ["bee", "cat", "dog"]), train)
