import numpy as np
import pytest
from PIL import Image

from quarterturn.data.downscaled import load_downscaled
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from .pictures import save_photo, truncate

SIDE = 16


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        save_photo(tmp_path / "ab"[i % 2] / f"{i:02d}.png", i, 30 + i, 50 - i)
    return tmp_path


def test_holds_the_centre_squares(folder):
    files = open_source(str(folder)).train
    shrunk, failed = load_downscaled(files, SIDE)
    assert failed == {}
    assert shrunk.pixels.shape == (12, SIDE, SIDE, 3)
    assert shrunk.pixels.dtype == np.uint8
    assert shrunk.names == list(files.names)
    assert shrunk.labels.tolist() == files.labels.tolist() == [0] * 6 + [1] * 6
    assert shrunk.class_names == ["a", "b"]
    for i in range(12):
        image = files.read(i)
        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        expected = image.resize(
            (SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + short, top + short)
        )
        np.testing.assert_array_equal(shrunk.pixels[i], np.asarray(expected))


def test_arrays_are_rounded_to_the_nearest_level(folder):
    files = open_source(str(folder)).train
    large, _ = load_downscaled(files, 2 * SIDE)
    small, _ = load_downscaled(large, SIDE)
    gap = small.pixels.astype(float) - [
        np.asarray(large.read(i).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        for i in range(len(large))
    ]
    assert np.abs(gap).max() <= 1
    assert abs(gap.mean()) < 0.25  # cut off instead of rounded, it is near -0.6


def test_what_fails_is_left_out_and_named(folder):
    files = open_source(str(folder)).train
    whole, _ = load_downscaled(files, SIDE)
    for i in (0, 5):
        truncate(files.path(i), 0.6)
    shrunk, failed = load_downscaled(files, SIDE)
    assert sorted(failed) == [files.names[0], files.names[5]]
    assert all(failed.values())
    kept = [i for i in range(12) if i not in (0, 5)]
    assert shrunk.names == [files.names[i] for i in kept]
    assert shrunk.labels.tolist() == files.labels[kept].tolist()
    np.testing.assert_array_equal(shrunk.pixels, whole.pixels[kept])


def test_workers_change_nothing(folder):
    files = open_source(str(folder)).train
    truncate(files.path(3), 0.6)
    one, failed = load_downscaled(files, SIDE)
    other, failed_there = load_downscaled(files, SIDE, workers=2)
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert failed == failed_there


def test_nothing_left(folder):
    files = open_source(str(folder)).train
    for i in range(12):
        files.path(i).unlink()
    with pytest.raises(DataError, match=r"none of the images can be decoded:\n  a/00.png: No such"):
        load_downscaled(files, SIDE)
