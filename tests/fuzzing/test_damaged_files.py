"""Two thousand damaged files: each is read for what it is, or refused with a reason.

The cases are the same in each run; `make test-slow` tries twenty thousand others.
"""

import numpy as np
import pytest
import torch

from quarterturn.data.image_file import UnreadableImageError, read_image, read_size
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.sources import open_source
from quarterturn.engine.checkpoint import load_checkpoint
from quarterturn.errors import CheckpointError, DataError

from . import whole_files
from .damage import damaged

CASES = [
    pytest.param(17, 500, id="500"),
    pytest.param(18, 5000, id="5000", marks=pytest.mark.slow),
]
"""Seed and number of damaged files, for each of the four readers."""


@pytest.mark.parametrize(("seed", "cases"), CASES)
def test_an_image_is_read_or_refused(tmp_path, recwarn, seed, cases):
    draw, files, read = np.random.default_rng(seed), whole_files.images(), 0
    for case in range(cases):
        suffix, content = files[case % len(files)]
        path = tmp_path / f"{case}.{suffix}"
        path.write_bytes(damaged(draw, content))
        try:
            read_size(path)
            image = read_image(path, shrink=float(draw.choice([1, 2, 8])))
        except UnreadableImageError as error:
            reason = str(error)
            assert reason, path
            assert str(tmp_path) not in reason
        else:
            read += 1
            assert image.mode == "RGB"
    assert cases / 10 < read < cases
    assert not recwarn.list


@pytest.mark.parametrize("number", range(10))
def test_a_whole_image_is_read(tmp_path, number):
    suffix, content = whole_files.images()[number]
    (tmp_path / f"x.{suffix}").write_bytes(content)
    size = read_size(tmp_path / f"x.{suffix}")
    assert read_image(tmp_path / f"x.{suffix}").size == size[::-1]


@pytest.mark.parametrize(("seed", "cases"), CASES)
def test_a_manifest_names_its_images_or_is_refused(tmp_path, seed, cases):
    draw, manifests, read = np.random.default_rng(seed), whole_files.manifests(), 0
    reasons: set[str] = set()
    whole_files.write_listed(tmp_path)
    listed = {f"{i}.png" for i in range(whole_files.NUM_LISTED)}
    path = tmp_path / "list.csv"
    for case in range(cases):
        path.write_bytes(damaged(draw, manifests[case % len(manifests)]))
        try:
            source = open_source(str(path), max_bad_fraction=0.9)
        except DataError as error:
            reasons.add(str(error))
        else:
            read += 1
            parts = [source.train, *([] if source.test is None else [source.test])]
            assert {name for part in parts for name in part.names} <= listed
    assert cases / 10 < read < cases
    # Of the list, or of the images that it names.
    assert all("list.csv" in reason or "cannot be read" in reason for reason in reasons)


@pytest.mark.parametrize(("seed", "cases"), CASES)
def test_arrays_are_the_same_or_refused(tmp_path, seed, cases):
    draw, read = np.random.default_rng(seed), 0
    reasons: set[str] = set()
    path = tmp_path / "images.npz"
    contents = whole_files.arrays()
    path.write_bytes(contents[0])
    whole = open_source(str(path)).train
    assert isinstance(whole, ArrayImages)
    for case in range(cases):
        path.write_bytes(damaged(draw, contents[case % len(contents)]))
        try:
            train = open_source(str(path)).train
        except DataError as error:
            reasons.add(str(error))
        else:
            read += 1
            assert isinstance(train, ArrayImages)
            np.testing.assert_array_equal(train.pixels, whole.pixels)
    assert cases / 20 < read < cases
    assert all("images.npz" in reason for reason in reasons)


@pytest.mark.parametrize(("seed", "cases"), CASES)
def test_a_checkpoint_is_the_same_or_refused(tmp_path, seed, cases):
    draw, content, read = np.random.default_rng(seed), whole_files.checkpoint(), 0
    reasons: set[str] = set()
    path, whole = tmp_path / "last.ckpt", whole_files.STATE
    for _ in range(cases):
        path.write_bytes(damaged(draw, content))
        try:
            found = load_checkpoint(path)
        except CheckpointError as error:
            reasons.add(str(error))
        else:
            read += 1
            assert {**found, "network": None} == {**whole, "network": None}
            assert torch.equal(found["network"]["weights"], whole["network"]["weights"])
    assert cases / 20 < read < cases
    assert all("last.ckpt" in reason for reason in reasons)
