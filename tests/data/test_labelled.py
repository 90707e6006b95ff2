from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarterturn.data.labelled import open_labelled
from quarterturn.data.long_tail import long_tail_counts
from quarterturn.data.sources import open_source
from quarterturn.data.subsets import limit_images
from quarterturn.errors import ConfigError, DataError
from quarterturn.runs.protocols import protocol_of

from .pictures import noise, save_photo


def tree(root: Path, counts: dict[str, int], first: int = 0) -> str:
    """Small photos below a folder of classes."""
    for folder, count in counts.items():
        for i in range(first, first + count):
            save_photo(root / folder / f"{i:02d}.png", i, 9, 9)
    return str(root)


def archive(path: Path, **labels: list[int]) -> str:
    """A .npz file of noise, with splits of the given labels."""
    arrays = {}
    for seed, (split, of_split) in enumerate(labels.items()):
        arrays[f"{split}_images"] = noise(seed, len(of_split), 4, 4, 3)
        arrays[f"{split}_labels"] = np.array(of_split)
    np.savez(path, **arrays)
    return str(path)


class TestOwnSplit:
    def test_is_the_test_part_by_every_seed(self, tmp_path):
        split = open_labelled(archive(tmp_path / "x.npz", train=[0, 1] * 5, test=[1, 0, 1]))
        assert split.description == "the split 'test'"
        assert split.tests is split.test
        assert split.test.labels.tolist() == [1, 0, 1]
        for seed in range(2):
            train, held = split.parts(seed)
            assert train.tolist() == list(range(10))
            assert held.tolist() == [0, 1, 2]

    def test_is_val_where_there_is_no_test(self, tmp_path):
        split = open_labelled(archive(tmp_path / "x.npz", train=[0, 1] * 5, val=[1, 0]))
        assert split.description == "the split 'val'"
        assert len(split.test) == 2

    def test_has_the_class_numbers_of_the_training_images(self, tmp_path):
        tree(tmp_path / "train", {"ant": 4, "bee": 4, "cat": 4})
        tree(tmp_path / "test", {"cat": 2, "bee": 1})
        split = open_labelled(str(tmp_path))
        assert split.test.class_names == split.train.class_names == ["ant", "bee", "cat"]
        assert split.test.labels.tolist() == [1, 2, 2]

    def test_of_a_class_without_training_images_is_refused(self, tmp_path):
        data = archive(tmp_path / "x.npz", train=[0, 1] * 5, test=[1, 0, 2, 3])
        with pytest.raises(
            DataError, match=r"x\.npz has no training image of the test classes 2, 3$"
        ):
            open_labelled(data)
        assert len(open_labelled(data, empty_classes=True).test) == 4
        open_labelled(archive(tmp_path / "y.npz", train=[0, 1] * 5, val=[2], test=[1, 0]))

    def test_folders_that_training_lacks_are_refused_or_left_out(self, tmp_path):
        tree(tmp_path / "train", {"ant": 4, "cat": 4})
        tree(tmp_path / "test", {"bee": 3, "cat": 2, "dog": 1})
        with pytest.raises(DataError, match="missing from the training images: bee, dog"):
            open_labelled(str(tmp_path), empty_classes=True)
        split = open_labelled(str(tmp_path), empty_classes=True, leave_out_unknown=True)
        assert split.test.names == ["cat/00.png", "cat/01.png"]
        assert split.test.labels.tolist() == [1, 1]
        assert split.description == (
            "the split 'test'; left out: 4 test images of 2 classes without training images: "
            "bee, dog"
        )
        other = tree(tmp_path / "other", {"bee": 4, "dog": 4})
        with pytest.raises(DataError, match="has no image of a class that"):
            open_labelled(str(tmp_path), other, leave_out_unknown=True)

    def test_without_labels_is_refused(self, tmp_path):
        tree(tmp_path / "train", {"ant": 4, "bee": 4})
        tree(tmp_path / "test", {".": 4})
        with pytest.raises(DataError, match="the split 'test' has no labels"):
            open_labelled(str(tmp_path))


class TestHeldOut:
    @pytest.fixture
    def split(self, tmp_path):
        return open_labelled(archive(tmp_path / "x.npz", train=[0] * 20 + [1] * 10 + [2] * 2))

    def test_a_fifth_of_every_class(self, split):
        assert split.description == "a stratified 20% held out by seed"
        assert split.test is None
        assert split.tests is split.train
        for seed in range(3):
            train, held = split.parts(seed)
            assert sorted([*train, *held]) == list(range(32))
            assert np.bincount(split.train.labels[held], minlength=3).tolist() == [4, 2, 0]

    def test_the_seed_says_which(self, split):
        one, again, other = (split.parts(seed)[1].tolist() for seed in (0, 0, 1))
        assert one == again
        assert one != other

    def test_too_few_to_hold_any_out(self, tmp_path):
        split = open_labelled(archive(tmp_path / "x.npz", train=[0, 1, 2, 3] * 2))
        with pytest.raises(DataError, match="8 images are too few to hold out 20% of each class"):
            split.parts(0)


class TestOtherData:
    def test_takes_the_place_of_a_split(self, tmp_path):
        data = archive(tmp_path / "x.npz", train=[0, 1] * 5, test=[1, 0, 1])
        other = archive(tmp_path / "y.npz", train=[1, 1, 0, 0, 1, 0, 1, 1, 0], test=[0, 1])
        split = open_labelled(data, other)
        assert split.description == other
        assert split.test.labels.tolist() == [1, 1, 0, 0, 1, 0, 1, 1, 0]
        np.testing.assert_array_equal(split.test.pixels, open_source(other).train.pixels)
        train, held = split.parts(3)
        assert (train.tolist(), held.tolist()) == (list(range(10)), list(range(9)))

    def test_classes_go_by_name(self, tmp_path):
        data = tree(tmp_path / "data", {"ant": 4, "bee": 4, "cat": 4})
        split = open_labelled(data, tree(tmp_path / "other", {"bee": 5, "cat": 4}))
        assert np.bincount(split.test.labels).tolist() == [0, 5, 4]
        assert np.bincount(split.train.labels).tolist() == [4, 4, 4]

    def test_that_cannot_be_used_is_named(self, tmp_path):
        data = tree(tmp_path / "data", {"ant": 4, "bee": 4})
        plain = tree(tmp_path / "plain", {".": 8})
        with pytest.raises(DataError, match="plain has no labels"):
            open_labelled(data, plain)
        with pytest.raises(DataError, match="no data at"):
            open_labelled(data, str(tmp_path / "nothing"))
        one = archive(tmp_path / "one.npz", train=[1] * 9)
        with pytest.raises(DataError, match=r"one\.npz has images of only one class"):
            open_labelled(archive(tmp_path / "x.npz", train=[0, 1] * 5), one)


class TestLimit:
    def test_holds_for_each_part(self, tmp_path):
        data = archive(tmp_path / "x.npz", train=[0, 1, 2] * 10, test=[0, 1] * 10)
        split, whole = open_labelled(data, limit=12), open_labelled(data)
        assert (len(split.train), len(split.test)) == (12, 12)
        for part, all_of_it in ((split.train, whole.train), (split.test, whole.test)):
            expected = limit_images(all_of_it, 12)
            assert part.names == expected.names
            np.testing.assert_array_equal(part.labels, expected.labels)
            np.testing.assert_array_equal(part.pixels, expected.pixels)
        train, held = split.parts(0)
        assert (len(train), len(held)) == (12, 12)

    def test_reports_a_class_left_without_images(self, tmp_path):
        data = archive(tmp_path / "x.npz", train=[0, 1] * 50 + [2], test=[0, 1, 2] * 4)
        assert open_labelled(data, limit=20).description.endswith(
            "; --limit leaves no training image of 1 of the classes tested"
        )
        assert "--limit" not in open_labelled(data).description

    def test_comes_before_a_part_is_held_out(self, tmp_path):
        split = open_labelled(archive(tmp_path / "x.npz", train=[0, 1] * 40), limit=30)
        train, held = split.parts(0)
        assert len(train) + len(held) == len(split.train) == 30

    def test_that_leaves_one_class_is_refused(self, tmp_path):
        data = archive(tmp_path / "x.npz", train=[0] * 500 + [1])
        assert len(open_labelled(data).train) == 501
        with pytest.raises(DataError, match="of only one class"):
            open_labelled(data, limit=8)


class TestUnreadable:
    def test_too_many_stop_in_either_part(self, tmp_path):
        data = tree(tmp_path / "data", {"ant": 8, "bee": 8})
        other = tree(tmp_path / "other", {"ant": 8, "bee": 8})
        (tmp_path / "other" / "ant" / "03.png").write_bytes(b"")
        with pytest.raises(DataError, match="1 of 16 image files cannot be read"):
            open_labelled(data, other)
        assert len(open_labelled(data, other, max_bad_fraction=0.1).test) == 15
        with pytest.raises(DataError, match="1 of 16 image files cannot be read"):
            open_labelled(other, data)


class TestOtherTraining:
    """`--train`: classifiers learn from other data than that which the test part is of."""

    @pytest.fixture
    def sets(self, tmp_path):
        def write(name, **labels):
            arrays = {}
            for i, (split, values) in enumerate(labels.items()):
                pixels = np.random.default_rng(i).integers(0, 256, (len(values), 8, 8, 3))
                arrays[f"{split}_images"] = pixels.astype(np.uint8)
                arrays[f"{split}_labels"] = np.array(values)
            np.savez(tmp_path / f"{name}.npz", **arrays)
            return str(tmp_path / f"{name}.npz")

        return {
            "balanced": write("balanced", train=[0, 1] * 20, test=[0, 1] * 5),
            "unsplit": write("unsplit", train=[0, 1] * 8),
            "tailed": write("tailed", train=[0] * 16 + [1] * 4),
        }

    def test_the_test_split_stays_that_of_the_data(self, sets):
        split = open_labelled(sets["balanced"], train=sets["tailed"])
        assert np.bincount(split.train.labels).tolist() == [16, 4]
        assert len(split.test) == 10
        assert split.description == (
            f"the split 'test' of {sets['balanced']}; training images of {sets['tailed']}"
        )

    def test_data_without_a_split_is_tested_on_whole(self, sets):
        split = open_labelled(sets["unsplit"], train=sets["tailed"])
        assert (len(split.train), len(split.test)) == (20, 16)

    def test_a_long_tail_is_cut_from_what_is_learned_from(self, sets):
        split = open_labelled(sets["unsplit"], train=sets["balanced"], long_tail=0.1)
        assert np.bincount(split.train.labels).tolist() == [20, 2]
        assert len(split.test) == 16

    def test_a_long_tail_leaves_the_test_split_as_it_is(self, sets):
        split = open_labelled(sets["balanced"], long_tail=0.1)
        assert np.bincount(split.train.labels).tolist() == [20, 2]
        assert np.bincount(split.test.labels).tolist() == [5, 5]

    def test_no_image_is_in_both_parts(self, sets):
        with pytest.raises(DataError, match="16 images are both training and test images"):
            open_labelled(sets["unsplit"], train=sets["unsplit"])

    def test_train_and_test_leave_nothing_of_the_data(self, sets):
        with pytest.raises(ConfigError, match="give --train or --test"):
            open_labelled(sets["balanced"], sets["unsplit"], train=sets["tailed"])


class TestLongTailWithoutATestSplit:
    @pytest.fixture
    def split(self, tmp_path):
        return open_labelled(archive(tmp_path / "x.npz", train=[0, 1, 2] * 50), long_tail=0.1)

    def test_is_cut_from_what_is_not_held_out(self, split):
        for seed in range(2):
            train, held = split.parts(seed)
            assert np.bincount(split.train.labels[held]).tolist() == [10, 10, 10]
            counts = np.bincount(split.train.labels[train]).tolist()
            assert counts == long_tail_counts(40, 3, 0.1) == [40, 12, 4]
            assert not np.intersect1d(train, held).size
        assert not np.array_equal(held, split.parts(0)[1])
        assert split.description == (
            "a stratified 20% held out by seed; training images cut to a long tail "
            "(exponential, 0.1)"
        )

    def test_is_limited_before(self, tmp_path):
        data = archive(tmp_path / "x.npz", train=[0, 1, 2] * 50)
        split = open_labelled(data, long_tail=0.1, limit=60)
        train, held = split.parts(0)
        assert len(split.train) == 60
        assert len(held) == 12
        counts = np.bincount(split.train.labels[train])
        assert counts[2] == int(48 / 3 * 0.1)

    def test_is_part_of_the_protocol(self, split, tmp_path):
        other = replace(split, long_tail=(0.1, "step"))
        told = [protocol_of("x", one, [0])["long_tail"] for one in (split, other)]
        assert told == [[0.1, "exponential"], [0.1, "step"]]
        assert "long_tail" not in protocol_of("x", replace(split, long_tail=None), [0])


class TestWithoutLabels:
    """Where something looks like labels and is none, it is said what."""

    @pytest.mark.parametrize(
        ("folders", "words"),
        [
            ({"ant": 5, "bee": 5, ".": 2}, r"2 images lie beside its sub-folders, such as 00\.png"),
            ({"home/ant": 5, "home/bee": 5}, "all its images are in one sub-folder, 'home'"),
            ({".": 9}, "expected a sub-folder for each class"),
        ],
    )
    def test_of_a_folder(self, tmp_path, folders, words):
        with pytest.raises(DataError, match=f"has no labels: {words}"):
            open_labelled(tree(tmp_path, folders))

    def test_of_several_an_image(self, tmp_path):
        labels = [[0, 1, 1]] * 9
        with pytest.raises(DataError, match="train_labels has 3 labels per image; expected one"):
            open_labelled(archive(tmp_path / "x.npz", train=labels))
