from __future__ import annotations

import hashlib

import numpy as np
import torch

from quarterturn.config import DataConfig
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.content_keys import content_keys
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.imageset import HASHED_AT_ONCE, ArrayImages
from quarterturn.data.sources import open_source
from quarterturn.data.subsets import hold_out

from .test_labelled import archive, tree


def test_of_files_are_the_same_by_any_way(tmp_path):
    data = tree(tmp_path / "data", {"ant": 5, "bee": 5})
    (tmp_path / "linked").symlink_to(tmp_path / "data")
    (tmp_path / "mixed" / "ant").mkdir(parents=True)
    (tmp_path / "mixed" / "ant" / "other name.png").symlink_to(tmp_path / "data" / "ant" / "01.png")
    tree(tmp_path / "mixed", {"bee": 8})
    found = open_source(data).train.identities(data)
    assert len(found) == 10
    linked = str(tmp_path / "linked")
    assert open_source(linked).train.identities(linked) == found
    part = open_source(data).train.subset(np.array([3, 7]))
    assert len(part.identities(data) & found) == 2
    mixed = str(tmp_path / "mixed")
    shared = open_source(mixed).train.identities(mixed) & found
    assert shared == {str((tmp_path / "data" / "ant" / "01.png").resolve())}


def test_of_arrays_are_by_file_and_split(tmp_path):
    one = archive(tmp_path / "x.npz", train=[0, 1] * 5, test=[1, 0] * 5)
    other = archive(tmp_path / "y.npz", train=[0, 1] * 5)
    source = open_source(one)
    of_train, of_test = source.train.identities(one), source.test.identities(one)
    assert (len(of_train), len(of_test)) == (10, 10)
    assert not of_train & of_test
    assert not of_train & open_source(other).train.identities(other)
    assert source.train.subset(np.array([2])).identities(one) < of_train


class TestSubsetsOfArrays:
    """They share the pixels of the whole, and are in all else what a copy is."""

    def test_share_the_pixels(self) -> None:
        images = array_of(400)
        train, held_out = hold_out(images, 0.1, None)
        assert held_out is not None
        for part in (train, held_out, train.subset(np.arange(3))):
            assert np.shares_memory(part.array, images.array)

    def test_batches_are_those_of_a_copy(self) -> None:
        part, copy = part_and_copy(array_of(60))
        crop = DataConfig(image_size=8, crop_scale=(0.5, 1.0))
        kinds = [
            lambda images: TrainingBatches(images, crop, batch_size=8, seed=3).epoch(1),
            lambda images: evaluation_batches(images, crop, batch_size=8),
        ]
        for batches in kinds:
            for ours, theirs in zip(batches(part), batches(copy), strict=True):
                assert torch.equal(ours.images, theirs.images)

    def test_identify_their_images_as_a_copy_does(self) -> None:
        part, copy = part_and_copy(array_of(2 * HASHED_AT_ONCE + 9))
        assert part.fingerprint() == copy.fingerprint()
        whole = hashlib.sha256(str(copy.pixels.shape).encode() + copy.pixels.tobytes())
        assert part.fingerprint() == whole.hexdigest()[:16]
        assert content_keys([part]) == content_keys([copy])
        assert len(part.sizes) == len(copy.sizes) == len(part)
        np.testing.assert_array_equal(part.read(5), copy.read(5))


def array_of(number: int) -> ArrayImages:
    pixels = np.random.default_rng(0).integers(0, 256, (number, 8, 8, 3), dtype=np.uint8)
    return ArrayImages(pixels, [str(i) for i in range(number)])


def part_and_copy(images: ArrayImages) -> tuple[ArrayImages, ArrayImages]:
    """A part of a part of images, and the same with pixels of its own."""
    first = np.random.default_rng(1).permutation(len(images))[: len(images) - 3]
    part = images.subset(first).subset(np.arange(len(first) - 2))
    copy = ArrayImages(images.array[first[:-2]], part.names)
    np.testing.assert_array_equal(part.pixels, copy.pixels)
    return part, copy
