import shutil
from pathlib import Path

import numpy as np
import pytest

import quarterturn.orientation.folds as folds
from quarterturn.data import content_keys
from quarterturn.data.imageset import ArrayImages, FileImages
from quarterturn.data.sources import open_source
from quarterturn.errors import ConfigError
from quarterturn.orientation.folds import Fold, duplicate_groups, split_into_folds

from ..data.pictures import noise, save


def arrays_of(groups: list[int]) -> ArrayImages:
    """Images of which those with the same number are copies."""
    pictures = noise(0, max(groups) + 1, 3, 3, 3)
    return ArrayImages(pictures[groups], [f"image-{i}" for i in range(len(groups))])


def same_group(groups: np.ndarray) -> set[tuple[int, ...]]:
    """The groups of two images and more."""
    members = [tuple(np.flatnonzero(groups == g).tolist()) for g in np.unique(groups)]
    return {m for m in members if len(m) > 1}


@pytest.fixture
def files(tmp_path: Path) -> FileImages:
    """Eleven files: two pairs of copies, a twin in size alone, and others of other sizes."""
    for i in range(8):
        save(tmp_path / f"{i}.bmp", noise(i, 4 + i, 5, 3))  # a BMP's size follows from its sides
    (tmp_path / "sub").mkdir()
    shutil.copy(tmp_path / "2.bmp", tmp_path / "sub" / "copy of 2.bmp")
    shutil.copy(tmp_path / "5.bmp", tmp_path / "5 again.bmp")
    save(tmp_path / "6 in size.bmp", noise(100, 10, 5, 3))
    return open_source(str(tmp_path)).train


class TestDuplicates:
    def test_files_of_the_same_bytes_are_a_group(self, files):
        number = {name: i for i, name in enumerate(files.names)}
        groups = duplicate_groups(files)
        assert groups.shape == (11,)
        assert groups.dtype == np.int64
        assert sorted(set(groups.tolist())) == list(range(9))
        assert files.num_bytes[number["6.bmp"]] == files.num_bytes[number["6 in size.bmp"]]
        assert same_group(groups) == {
            tuple(sorted((number["2.bmp"], number["sub/copy of 2.bmp"]))),
            tuple(sorted((number["5.bmp"], number["5 again.bmp"]))),
        }

    def test_only_files_of_one_size_are_read(self, files, monkeypatch):
        opened, plain = [], content_keys.open_bytes

        def spy(path):
            opened.append(path.relative_to(files.root).as_posix())
            return plain(path)

        monkeypatch.setattr(content_keys, "open_bytes", spy)
        duplicate_groups(files)
        assert sorted(opened) == [
            "2.bmp",
            "5 again.bmp",
            "5.bmp",
            "6 in size.bmp",
            "6.bmp",
            "sub/copy of 2.bmp",
        ]

    def test_files_that_cannot_be_read_are_like_no_other(self, files):
        lost = [i for i, name in enumerate(files.names) if "5" in name]
        assert len(lost) == 2
        for i in lost:
            files.path(i).unlink()
        groups = duplicate_groups(files)
        assert len(same_group(groups)) == 1
        assert groups[lost[0]] != groups[lost[1]]

    def test_arrays_are_compared_by_their_pixels(self):
        images = arrays_of([0, 1, 2, 1, 3, 0, 1])
        images.array[4] = images.array[2]
        images.array[4, 2, 2, 2] ^= 1  # nearly a copy
        assert same_group(duplicate_groups(images)) == {(0, 5), (1, 3, 6)}


def parts(fold: Fold) -> list[list[int]]:
    return [part.tolist() for part in (fold.train, fold.validation, fold.held_out)]


class TestFolds:
    @pytest.mark.parametrize(("n", "num_folds"), [(40, 2), (41, 5), (103, 7), (8, 2), (20, 5)])
    def test_partition_the_images(self, n, num_folds):
        found = split_into_folds(arrays_of(list(range(n))), num_folds, validation=0.2)
        assert len(found) == num_folds
        assert sorted(i for fold in found for i in fold.held_out.tolist()) == list(range(n))
        for fold in found:
            train, validation, held_out = parts(fold)
            assert sorted(train + validation + held_out) == list(range(n))
            assert len(held_out) in (n // num_folds, n // num_folds + 1)
            assert len(validation) == max(1, round(0.2 * (n - len(held_out))))
            for part in (train, validation, held_out):
                assert part == sorted(part)

    def test_keep_copies_together(self):
        groups = np.random.default_rng(1).permutation([*range(60), *range(20), *range(10)])
        for seed in range(4):
            for fold in split_into_folds(arrays_of(groups.tolist()), 3, validation=0.3, seed=seed):
                train, validation, held_out = (set(groups[p].tolist()) for p in parts(fold))
                assert not held_out & (train | validation)
                assert not train & validation
                assert 25 <= len(fold.held_out) <= 35  # of 90, with groups of up to three
                assert 18 <= len(fold.validation) <= 20

    def test_are_a_function_of_the_seed(self):
        images = arrays_of(list(range(60)))
        one, again, other = (
            [parts(f) for f in split_into_folds(images, 3, seed=seed)] for seed in (4, 4, 5)
        )
        assert one == again
        for k in range(3):
            # Held out at random, a third would be met again.
            assert len(set(one[k][2]) & set(other[k][2])) < 15
            assert one[k][2] != list(range(20 * k, 20 * k + 20))

    def test_each_fold_draws_a_validation_part_of_its_own(self):
        found = split_into_folds(arrays_of(list(range(300))), 3, validation=0.2)
        first, second = (set(found[k].validation.tolist()) for k in range(2))
        # Of the 100 images that neither holds out, by chance 4; by one draw for both, 20.
        assert len(first) == len(second) == 40
        assert len(first & second) < 12

    def test_others_random_numbers_change_nothing(self):
        images = arrays_of(list(range(30)))
        np.random.seed(1)  # noqa: NPY002
        one = [parts(f) for f in split_into_folds(images, 2)]
        np.random.seed(2)  # noqa: NPY002
        assert [parts(f) for f in split_into_folds(images, 2)] == one

    def test_validation_has_its_most(self, monkeypatch):
        monkeypatch.setattr(folds, "MAX_VALIDATION", 7)
        images = arrays_of(list(range(100)))
        found = split_into_folds(images, 2, validation=0.5)
        assert [len(fold.validation) for fold in found] == [7, 7]
        assert [len(fold.train) for fold in found] == [43, 43]
        # Drawn, not the first of the list.
        assert all(fold.validation.max() > 50 for fold in found)

    @pytest.mark.parametrize(
        ("groups", "num_folds", "told"),
        [
            (list(range(15)), 4, "--folds 4 of 15 distinct images: expected at least 2 folds"),
            (list(range(7)) * 5, 2, "--folds 2 of 7 distinct images"),
            (list(range(20)), 1, "--folds 1 of 20 distinct images"),
        ],
    )
    def test_too_few_images_are_refused(self, groups, num_folds, told):
        with pytest.raises(ConfigError, match=told):
            split_into_folds(arrays_of(groups), num_folds)
        assert len(split_into_folds(arrays_of(list(range(16))), 4)) == 4

    def test_nearly_all_copies_are_refused(self):
        groups = [0] * 200 + list(range(1, 12))
        with pytest.raises(ConfigError, match="most of the 211 images are copies of each other"):
            split_into_folds(arrays_of(groups), 3)
