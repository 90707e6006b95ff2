"""A cache holds a collection decoded once, and is DATA by itself."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import quarterturn
from quarterturn.collection import caching
from quarterturn.config import DataConfig
from quarterturn.data.batches import TrainingBatches, evaluation_batches
from quarterturn.data.pixel_cache import ABOUT, PIXELS, ROWS, CachedImages
from quarterturn.data.sources import open_source
from quarterturn.errors import ConfigError, DataError, OutputError
from quarterturn.orientation.folds import duplicate_groups

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
    assert set(contents(made)) == {ABOUT, PIXELS, ROWS}


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
    read, out = caching._Reduced.__getitem__, tmp_path / "again"

    def interrupted(self, number):
        if len(self) == N + 2 and number == stop:
            raise KeyboardInterrupt
        return read(self, number)

    monkeypatch.setattr(caching, "KEPT_EVERY", 4)
    with monkeypatch.context() as patch:
        patch.setattr(caching._Reduced, "__getitem__", interrupted)
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

    monkeypatch.setattr(caching._Reduced, "__getitem__", counted)
    quarterturn.cache(photos, out=out, side=SIDE, workers=0)
    assert contents(out) == contents(made)
    assert max(decoded) == N + 2 - stop


def test_an_unfinished_one_of_other_images_is_refused(photos, tmp_path, monkeypatch):
    out = tmp_path / "again"
    with monkeypatch.context() as patch:
        patch.setattr(caching, "_decode", lambda *arguments: 1 / 0)
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
    usage = caching.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(caching.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OutputError, match=r"needs about 0\.00 GB, and 0\.00 GB are free: make"):
        quarterturn.cache(photos, out=tmp_path / "c", side=SIDE, workers=0)


def test_a_disk_that_fills_up_leaves_what_can_be_continued(photos, made, tmp_path, monkeypatch):
    out, flush, calls = tmp_path / "again", os.fsync, []

    def full(number: int) -> None:
        calls.append(number)
        if len(calls) == 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(number)

    monkeypatch.setattr(caching, "KEPT_EVERY", 4)
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
    with pytest.raises(DataError, match="of format 99, and this version reads up to 1: update"):
        open_source(str(made))
    (made / ABOUT).write_text("{")
    with pytest.raises(DataError, match="is damaged: "):
        open_source(str(made))


def test_fingerprint_knows_the_pixels(photos, made, tmp_path):
    before = open_source(str(made)).train.fingerprint()
    with Image.open(photos / "b" / "01.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photos / "b" / "01.png")
    other = quarterturn.cache(photos, out=tmp_path / "other", side=SIDE, workers=0)
    assert open_source(str(other)).train.fingerprint() != before
