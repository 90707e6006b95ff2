"""A cache holds a collection decoded once, and is DATA by itself."""

import errno
import io
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import quarterturn
from quarterturn.config import DataConfig
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.pixel_cache import (
    ABOUT,
    BYTES,
    NUM_COLUMNS,
    OFFSET,
    PIXELS,
    ROWS,
    CachedImages,
    CacheOrigin,
)
from quarterturn.data.sources import open_source
from quarterturn.errors import CheckpointError, ConfigError, DataError, OutputError
from quarterturn.orientation.folds import duplicate_groups
from quarterturn.runs import cache_writing
from quarterturn.runs.lock import locked

from ..data.pictures import oriented, save, save_photo, truncate

N, SIDE = 24, 16
CROP = DataConfig(image_size=12)


@pytest.fixture
def photos(tmp_path) -> Path:
    root = tmp_path / "photos"
    for i in range(N):
        suffix = "jpg" if i % 3 == 0 else "png"
        save_photo(root / "ab"[i % 2] / f"{i:02d}.{suffix}", i, 40 + i % 7, 60 - i % 11)
    save(root / "a" / "turned.jpg", np.zeros((20, 48, 3), np.uint8), exif=oriented(6))
    save(root / "b" / "small.png", np.ones((9, 12, 3), np.uint8))
    return root


@pytest.fixture
def made(photos, tmp_path) -> Path:
    return quarterturn.cache(photos, out=tmp_path / "cache", side=SIDE, workers=0)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_images_are_upright_and_of_the_short_side(photos, made):
    files, source = open_source(str(photos)).train, open_source(str(made))
    cached = source.train
    assert isinstance(cached, CachedImages)
    assert source.name == "photos"
    assert list(cached.names) == list(files.names)
    assert cached.class_names == ["a", "b"]
    np.testing.assert_array_equal(cached.labels, files.labels)
    for i, name in enumerate(cached.names):
        small, whole = cached.read(i), files.read(i)
        assert min(small.size) == min(SIDE, min(whole.size))
        assert abs(small.width / small.height - whole.width / whole.height) < 0.1
        assert cached.sizes[i].tolist() == [small.height, small.width]
        assert small.height > small.width if name == "a/turned.jpg" else True
        if name == "b/small.png":
            np.testing.assert_array_equal(np.asarray(small), np.asarray(whole))
        assert cached.identity(i, str(made)) == files.identity(i, str(photos))
    assert cached.subset(np.array([3])).identities("x") == {files.identity(3, "y")}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_files_with_the_same_pixels(made, tmp_path, workers):
    cached = open_source(str(made)).train
    for i in range(len(cached)):
        save(tmp_path / "png" / f"{i:02d}.png", np.asarray(cached.read(i)))
    files = open_source(str(tmp_path / "png")).train
    for epoch in (0, 1):
        one, other = (
            list(TrainingBatches(images, CROP, batch_size=8, seed=3, workers=workers).epoch(epoch))
            for images in (cached, files)
        )
        assert [b.indices.tolist() for b in one] == [b.indices.tolist() for b in other]
        assert all(torch.equal(a.images, b.images) for a, b in zip(one, other, strict=True))
    (one,), (other,) = evaluation_batches(cached, CROP), evaluation_batches(files, CROP)
    assert torch.equal(one.images, other.images)


def test_workers_make_the_same_cache(photos, made, tmp_path):
    other = quarterturn.cache(photos, out=tmp_path / "other", side=SIDE, workers=2)
    assert contents(other) == contents(made)
    assert set(contents(made)) == {ABOUT, PIXELS, ROWS, "lock"}


def test_every_split_and_array_is_cached(tmp_path):
    cached = open_source(str(quarterturn.cache("digits", out=tmp_path / "c", workers=0)))
    digits = open_source("digits")
    assert cached.splits.keys() == digits.splits.keys()
    for split, images in digits.splits.items():
        found = cached.splits[split]
        np.testing.assert_array_equal(found.labels, images.labels)
        np.testing.assert_array_equal(np.asarray(found.read(7)), images.pixels[7])
    assert duplicate_groups(cached.train).max() == duplicate_groups(digits.train).max()


@pytest.mark.parametrize("stop", [1, 10, 20])
def test_an_interrupted_one_is_continued(photos, made, tmp_path, monkeypatch, stop):
    read, out = cache_writing._Reduced.__getitem__, tmp_path / "again"

    def interrupted(self, number):
        if len(self) == N + 2 and number == stop:
            raise KeyboardInterrupt
        return read(self, number)

    monkeypatch.setattr(cache_writing, "KEPT_EVERY", 4)
    with monkeypatch.context() as patch:
        patch.setattr(cache_writing._Reduced, "__getitem__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quarterturn.cache(photos, out=out, side=SIDE, workers=0)
    with pytest.raises(DataError):
        open_source(str(out))  # it is no DATA before it is whole
    with open(out / PIXELS, "ab") as file:  # as a kill between pixels and row leaves it
        file.write(b"half an image")
    with open(out / ROWS, "ab") as file:
        file.write(b"half")
    decoded: list[int] = []

    def counted(self, number):
        decoded.append(len(self))
        return read(self, number)

    monkeypatch.setattr(cache_writing._Reduced, "__getitem__", counted)
    quarterturn.cache(photos, out=out, side=SIDE, workers=0)
    assert contents(out) == contents(made)
    assert max(decoded) == N + 2 - stop


def test_an_unfinished_one_of_other_images_is_refused(photos, tmp_path, monkeypatch):
    out = tmp_path / "again"
    with monkeypatch.context() as patch:
        patch.setattr(cache_writing, "_decode", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            quarterturn.cache(photos, out=out, side=SIDE, workers=0)
    with pytest.raises(ConfigError, match="is an unfinished cache of other images"):
        quarterturn.cache(photos, out=out, side=SIDE + 1, workers=0)
    (photos / "a" / "00.jpg").unlink()
    with pytest.raises(ConfigError, match="is an unfinished cache of other images"):
        quarterturn.cache(photos, out=out, side=SIDE, workers=0)
    made = quarterturn.cache(photos, out=out, side=SIDE, workers=0, overwrite=True)
    assert len(open_source(str(made)).train) == N + 1


def test_what_is_in_its_place_stays(photos, made, tmp_path):
    before = contents(made)
    with pytest.raises(ConfigError, match="exists; choose another --out, or give --overwrite"):
        quarterturn.cache(photos, out=made, side=SIDE, workers=0)
    assert contents(made) == before
    with pytest.raises(ConfigError, match="exists and is no cache"):
        quarterturn.cache(photos, out=photos, side=SIDE, workers=0, overwrite=True)
    assert len(open_source(str(photos)).train) == N + 2


def test_a_disk_without_room_is_noticed_before_it_starts(photos, tmp_path, monkeypatch):
    usage = cache_writing.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(cache_writing.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OutputError, match=r"needs about 0\.00 GB, and 0\.00 GB are free: make"):
        quarterturn.cache(photos, out=tmp_path / "c", side=SIDE, workers=0)


def test_a_disk_that_fills_up_leaves_what_can_be_continued(photos, made, tmp_path, monkeypatch):
    out, flush, calls = tmp_path / "again", os.fsync, []

    def full(number: int) -> None:
        calls.append(number)
        if len(calls) == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(number)

    monkeypatch.setattr(cache_writing, "KEPT_EVERY", 4)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left on device"):
            quarterturn.cache(photos, out=out, side=SIDE, workers=0)
    quarterturn.cache(photos, out=out, side=SIDE, workers=0)
    assert contents(out) == contents(made)


def test_unreadable_files_are_left_out(photos, tmp_path, caplog):
    truncate(photos / "b" / "05.png", 0.6)
    out = quarterturn.cache(photos, out=tmp_path / "c", side=SIDE, workers=0)
    assert "1 image file could not be read:\n  b/05.png: " in caplog.text
    cached = open_source(str(out)).train
    assert len(cached) == len(cached.labels) == N + 1
    assert "b/05.png" not in cached.names
    assert min(cached.read(len(cached) - 1).size) == 9  # the rows still fit
    for name in ("07", "11"):
        truncate(photos / "b" / f"{name}.png", 0.6)
    with pytest.raises(DataError, match="2 of 26 image files cannot be read"):
        quarterturn.cache(photos, out=tmp_path / "d", side=SIDE, workers=0)


def test_damage_is_refused_in_words(made):
    whole = (made / PIXELS).read_bytes()
    (made / PIXELS).write_bytes(whole[:-5])
    with pytest.raises(DataError, match=r"is damaged: pixels\.bin has .* bytes, expected"):
        open_source(str(made))
    (made / PIXELS).write_bytes(whole)
    about = json.loads((made / ABOUT).read_text())
    (made / ABOUT).write_text(json.dumps(about | {"format": 99}))
    with pytest.raises(DataError, match="of format 99, and this version reads up to 2: update"):
        open_source(str(made))
    (made / ABOUT).write_text("{")
    with pytest.raises(DataError, match="is damaged: "):
        open_source(str(made))


def test_jpegs_are_those_that_pillow_makes_of_the_pixels(photos, made, tmp_path):
    out = quarterturn.cache(photos, out=tmp_path / "jpegs", side=SIDE, quality=90, workers=2)
    raw, jpegs = open_source(str(made)).train, open_source(str(out)).train
    assert list(jpegs.names) == list(raw.names)
    np.testing.assert_array_equal(jpegs.sizes, raw.sizes)
    for i in range(len(raw)):
        encoded = io.BytesIO()
        raw.read(i).save(encoded, "JPEG", quality=90)
        np.testing.assert_array_equal(jpegs.read(i), Image.open(encoded))
    turned = jpegs.read(raw.names.index("a/turned.jpg"))
    assert turned.height > turned.width  # it is not turned once more
    assert open_source(str(out)).cache == CacheOrigin(str(photos), SIDE, 90)
    assert jpegs.fingerprint() != raw.fingerprint()


@pytest.mark.parametrize("quality", [0, 101, 90.5])
def test_a_quality_that_no_jpeg_has_is_refused(photos, tmp_path, quality):
    with pytest.raises(ConfigError, match="--quality"):
        quarterturn.cache(photos, out=tmp_path / "c", quality=quality)


def test_interrupted_jpegs_are_continued(photos, tmp_path, monkeypatch):
    wanted = quarterturn.cache(photos, out=tmp_path / "c", side=SIDE, quality=50, workers=0)
    monkeypatch.setattr(cache_writing, "KEPT_EVERY", 4)
    out, stored, calls = tmp_path / "again", cache_writing._Reduced._stored, []

    def interrupted(self, image):
        calls.append(image.size)
        if len(calls) == 16 + 15:  # after the images that are timed
            raise KeyboardInterrupt
        return stored(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(cache_writing._Reduced, "_stored", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quarterturn.cache(photos, out=out, side=SIDE, quality=50, workers=0)
    with pytest.raises(ConfigError, match="of another size or quality"):
        quarterturn.cache(photos, out=out, side=SIDE, quality=51, workers=0)
    os.truncate(out / PIXELS, os.path.getsize(out / PIXELS) - 1)
    quarterturn.cache(photos, out=out, side=SIDE, quality=50, workers=0)
    assert contents(out) == contents(wanted)


def test_an_array_is_an_array_again_to_the_bit(tmp_path):
    digits = open_source("digits")
    cached = open_source(str(quarterturn.cache("digits", out=tmp_path / "c", workers=0)))
    crop = DataConfig(image_size=8)
    for split, images in digits.splits.items():
        found = cached.splits[split]
        assert isinstance(found, ArrayImages)
        assert isinstance(found.pixels, np.memmap)
        assert found.fingerprint() == images.fingerprint()
        one, other = (
            [b.images for b in TrainingBatches(each, crop, batch_size=64, seed=5).epoch(1)]
            for each in (found, images)
        )
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        assert one


def test_a_cache_of_the_first_format_is_read(made):
    before = open_source(str(made)).train
    about = json.loads((made / ABOUT).read_text())
    for name in ("data", "quality", "unreadable"):
        del about[name]
    (made / ABOUT).write_text(json.dumps(about | {"format": 1}))
    rows = np.fromfile(made / ROWS, np.int64).reshape(-1, NUM_COLUMNS)
    np.ascontiguousarray(rows[:, :BYTES]).tofile(made / ROWS)
    source = open_source(str(made))
    assert source.cache == CacheOrigin(None, SIDE)
    assert source.train.fingerprint() == before.fingerprint()
    np.testing.assert_array_equal(source.train.read(5), before.read(5))


def test_each_process_maps_the_file_for_itself(made):
    images = open_source(str(made)).train
    whole = np.asarray(images.read(3))
    sent = pickle.loads(pickle.dumps(images))
    np.testing.assert_array_equal(sent.read(3), whole)
    images.rows[3, OFFSET] = 10**9  # as a row would have it that was damaged
    with pytest.raises(UnreadableImageError, match=r"pixels\.bin is damaged or gone: .* bytes"):
        images.read(3)
    shutil.rmtree(made)
    np.testing.assert_array_equal(sent.read(3), whole)  # an open file outlives its name
    fresh = pickle.loads(pickle.dumps(sent))
    with pytest.raises(UnreadableImageError, match=r"is damaged or gone: .*No such file"):
        fresh.read(3)


def test_unreadable_files_are_known_to_whoever_opens_it(photos, tmp_path):
    truncate(photos / "b" / "05.png", 0.6)
    out = quarterturn.cache(photos, out=tmp_path / "c", side=SIDE, workers=0)
    source = open_source(str(out))
    assert source.unreadable.keys() == {"b/05.png"}
    assert "left out: 1 image file that cannot be read:" in source.summary()
    with pytest.raises(DataError, match="1 of 26 image files cannot be read"):
        open_source(str(out), max_bad_fraction=0.01)


def test_a_cache_is_not_cached(made, tmp_path):
    with pytest.raises(ConfigError, match=r"is a cache, .*: give the images that it was decoded"):
        quarterturn.cache(made, out=tmp_path / "c")


def test_two_commands_do_not_write_one_cache(photos, tmp_path):
    out = tmp_path / "c"
    out.mkdir()
    with locked(out), pytest.raises(CheckpointError, match="is in use by process"):
        quarterturn.cache(photos, out=out, side=SIDE, workers=0)


def test_fingerprint_knows_the_pixels(photos, made, tmp_path):
    before = open_source(str(made)).train.fingerprint()
    with Image.open(photos / "b" / "01.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "b" / "01.png")
    other = quarterturn.cache(photos, out=tmp_path / "other", side=SIDE, workers=0)
    assert open_source(str(other)).train.fingerprint() != before
