"""16-bit values as grey levels, by the white point of their collection."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from quarterturn.data import wide_values
from quarterturn.data.sources import open_source
from quarterturn.data.wide_values import Levels, to_8bit

from .pictures import photo, save, save_photo


def grey_of(data: str, index: int = 0, **options: int) -> np.ndarray:
    """(H, W) of the first channel of an image of a collection."""
    return np.asarray(open_source(data, **options).train.read(index))[..., 0]


def write_wide(folder, bits: int, count: int = 8, offset: int = 0, dtype=np.uint16):
    """Photos whose values fill some bits, in a file of 16 bits, with their 8-bit originals."""
    originals = [photo(seed)[..., 0] for seed in range(count)]
    for i, grey in enumerate(originals):
        values = np.round(grey.astype(float) * ((1 << bits) - 1) / 255).astype(int) + offset
        values[0, 0] = (1 << bits) - 1 + offset
        save(folder / f"{i}.tif", values.astype(dtype))
    return originals


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_values_fill_the_range_whatever_their_bits(tmp_path, bits):
    originals = write_wide(tmp_path, bits)
    found = grey_of(str(tmp_path), 3)
    assert np.abs(found.astype(int) - originals[3])[1:].max() <= 1
    assert found[0, 0] == 255


def test_signed_values_are_shifted(tmp_path):
    originals = write_wide(tmp_path, 12, offset=-1024, dtype=np.int16)
    for each in tmp_path.iterdir():
        with Image.open(each) as image:
            assert np.asarray(image).min() < 0
    found = grey_of(str(tmp_path), 3)
    assert np.abs(found.astype(int) - originals[3])[1:].max() <= 1


def test_given_white_point_clips_above_it(tmp_path):
    write_wide(tmp_path, 16)
    save(tmp_path / "0.tif", np.array([[0, 1000, 2000, 4000]] * 4, np.uint16))
    assert grey_of(str(tmp_path), white=2000)[0].tolist() == [0, 128, 255, 255]


def test_brighter_file_outside_the_sample_is_not_clipped(tmp_path, monkeypatch):
    monkeypatch.setattr("quarterturn.data.white_point.MAX_OPENED", 2)  # the first and the last
    write_wide(tmp_path, 12)
    save(tmp_path / "1.tif", np.array([[0, 4095, 16383, 65535]] * 4, np.uint16))
    assert grey_of(str(tmp_path), 1)[0].tolist() == [0, 16, 64, 255]


def test_all_splits_share_one_white_point(tmp_path):
    write_wide(tmp_path / "train", 10)
    write_wide(tmp_path / "test", 14)
    source = open_source(str(tmp_path))
    assert source.train.decoding.levels == source.test.decoding.levels == Levels(0, 16383)
    assert source.train.subset(np.arange(3)).decoding == source.train.decoding


def test_8_bit_collections_have_no_levels(tmp_path):
    for i in range(8):
        save_photo(tmp_path / f"{i}.png", i)
    assert open_source(str(tmp_path)).train.decoding.levels is None


def test_warns_where_little_of_the_range_is_used(tmp_path, caplog):
    write_wide(tmp_path, 16)
    for i in range(8):  # one hot pixel sets the white point, all others are dark
        save(
            tmp_path / f"{i}.tif",
            np.where(np.arange(5000) == 7, 65535, 900).reshape(50, 100).astype(np.uint16),
        )
    open_source(str(tmp_path))
    assert "use 1.4% of the range from black (0) to white (65535;" in caplog.text
    assert "--white 900" in caplog.text
    caplog.clear()
    open_source(str(tmp_path), white=900)
    assert not caplog.records


def test_strips_give_what_the_whole_gives(monkeypatch):
    values = np.random.default_rng(0).integers(0, 65536, (37, 11)).astype(np.uint16)
    for image in (
        Image.fromarray(values),
        Image.frombytes("I;16B", (11, 37), values.astype(">u2").tobytes()),
        Image.fromarray(values.astype(np.int32)),
        Image.fromarray(values.astype(np.float32) / 60000),
    ):
        whole = np.asarray(to_8bit(image))
        with monkeypatch.context() as patched:
            patched.setattr(wide_values, "STRIP_PIXELS", 30)
            np.testing.assert_array_equal(np.asarray(to_8bit(image)), whole)
        if image.mode.startswith("I"):
            np.testing.assert_array_equal(whole, np.round(values / 257).astype(np.uint8))


@given(st.integers(-32768, 32767), st.integers(0, 65535))
def test_levels_cover_the_values_as_closely_as_bits_can(lowest, span):
    highest = lowest + span
    levels = Levels.covering(lowest, highest)
    if levels is None:  # a range from a power of two below the lowest needs more than 16 bits
        assert lowest < 0
        assert highest - 2 * lowest > 65535
        return
    assert levels.black <= min(lowest, 0)
    assert highest <= levels.white
    assert levels.white - levels.black in (1023, 4095, 16383, 65535)
    if levels.white - levels.black > 1023:
        assert highest - levels.black >= (levels.white - levels.black + 1) // 4
