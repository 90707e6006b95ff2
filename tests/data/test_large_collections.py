"""Collections of which only a sample of the headers is read when they are opened."""

import re
from pathlib import Path

import numpy as np
import pytest

from quarterturn.config import DataConfig
from quarterturn.data import header_index
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.file_table import BYTES, NOT_ASKED
from quarterturn.data.imageset import FileImages
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from .pictures import save_photo, truncate

N, CHECKED = 60, 20
CROP = DataConfig(image_size=16)


@pytest.fixture
def photos(tmp_path) -> Path:
    root = tmp_path / "photos"
    for i in range(N):
        suffix = "jpg" if i % 3 == 0 else "png"
        save_photo(root / "ab"[i % 2] / f"{i:02d}.{suffix}", i, 20 + i % 5, 30 - i % 7)
    return root


@pytest.fixture(autouse=True)
def a_small_sample(monkeypatch) -> None:
    monkeypatch.setattr(header_index, "NUM_CHECKED", CHECKED)


def not_asked(source: Source) -> list[int]:
    images = source.train
    assert isinstance(images, FileImages)
    return np.flatnonzero(images.table.rows[images.rows, BYTES] == NOT_ASKED).tolist()


def whole(root: Path, monkeypatch, **options: object) -> Source:
    """The same collection with every header read, as of a small one."""
    with monkeypatch.context() as patch:
        patch.setattr(header_index, "NUM_CHECKED", 10 * N)
        return open_source(str(root), **options)


def test_opening_asks_nothing_of_most_files(photos, monkeypatch):
    source = open_source(str(photos))
    assert 10 < source.sample.num_files <= CHECKED
    left = not_asked(source)
    assert len(source.train) == N
    assert len(left) == N - source.sample.num_files
    assert not source.train.sizes[left].any()
    part = source.train.subset(np.arange(0, N, 2))
    complete = whole(photos, monkeypatch).train
    assert complete.sizes.all()
    assert part.fingerprint() == complete.subset(np.arange(0, N, 2)).fingerprint()
    assert not_asked(source) == [i for i in left if i % 2]  # a subset asks for its own
    assert source.train.fingerprint() == complete.fingerprint()
    assert source.train.files_fingerprint() == complete.files_fingerprint()
    assert not not_asked(source)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_and_fill_in_the_sizes(photos, monkeypatch, workers):
    images, complete = open_source(str(photos)).train, whole(photos, monkeypatch).train
    options = {"batch_size": 16, "seed": 3, "workers": workers}
    found = TrainingBatches(images, CROP, **options)
    expected = TrainingBatches(complete, CROP, **options)
    for one, other in zip(found.epoch(1), expected.epoch(1), strict=True):
        assert one.indices.tolist() == other.indices.tolist()
        assert (one.images == other.images).all()
    np.testing.assert_array_equal(images.sizes, complete.sizes)


def test_fingerprint_and_bytes_are_those_before_a_training(photos, monkeypatch):
    complete = whole(photos, monkeypatch).train
    source = open_source(str(photos))
    images, left = source.train, not_asked(source)
    batches = iter(TrainingBatches(images, CROP, batch_size=16, seed=3).epoch(0))
    seen = {int(i) for i in next(batches).indices}
    assert seen & set(left)
    assert set(not_asked(source)) == set(left) - seen  # asked of the files that were read, only
    assert images.fingerprint() == complete.fingerprint()
    on_disk = [images.path(i).stat().st_size for i in range(N)]
    assert images.num_bytes.tolist() == complete.num_bytes.tolist() == on_disk


def test_unreadable_files_are_found_when_they_are_decoded(photos):
    outside = not_asked(open_source(str(photos)))[:2]
    names = [open_source(str(photos)).train.names[i] for i in outside]
    for name in names:
        truncate(photos / name, 0.1)
    source = open_source(str(photos))
    assert (len(source.train), source.unreadable) == (N, {})
    batches = TrainingBatches(source.train, CROP, batch_size=16, seed=3, source=source)
    assert sum(map(len, batches.epoch(0))) == N - 2
    assert sorted(batches.failed) == outside
    strict = DataConfig(image_size=16, max_bad_fraction=0.01)
    with pytest.raises(DataError, match=r"of 60 image files cannot be read"):
        list(TrainingBatches(source.train, strict, batch_size=16, seed=3, source=source).epoch(0))


def test_a_folder_that_is_mostly_broken_stops_at_once(photos):
    for path in sorted(photos.rglob("*.*"))[: 2 * N // 3]:
        path.write_bytes(b"")
    with pytest.raises(DataError) as told:
        open_source(str(photos), max_bad_fraction=0.05)
    assert re.match(
        r"1\d of (1\d|20) image files, a random sample of 60, cannot be read \(\d\d\.\d%; the "
        r"limit --max-bad-fraction is 5\.0%\):\n  a/\d\d\.\w+: the file is empty\n",
        str(told.value),
    )


def test_what_was_unreadable_before_stays_left_out(photos, tmp_path, monkeypatch):
    """Runs of former versions know every header: their images keep their numbers."""
    outside = not_asked(open_source(str(photos)))[0]
    name = open_source(str(photos)).train.names[outside]
    intact = (photos / name).read_bytes()
    (photos / name).write_bytes(b"")
    complete = whole(photos, monkeypatch, index=tmp_path / "index")
    again = open_source(str(photos), index=tmp_path / "index")
    assert again.unreadable == complete.unreadable == {name: "the file is empty"}
    assert again.train.fingerprint() == complete.train.fingerprint()
    (photos / name).write_bytes(intact)
    assert len(open_source(str(photos), index=tmp_path / "index").train) == N


def test_a_file_that_changes_after_it_was_first_decoded(photos, caplog):
    images = open_source(str(photos)).train
    assert len(list(evaluation_batches(images, CROP))) == 1
    save_photo(images.path(5), 99, 40, 40)
    assert len(list(evaluation_batches(images, CROP))) == 1
    assert f"1 of 60 image files changed while they were read, such as {images.names[5]}" in (
        caplog.text
    )


def test_every_header_is_read_to_verify(photos):
    name = open_source(str(photos)).train.names[7]
    truncate(photos / name, 0.1)
    source = open_source(str(photos), verify=True)
    assert list(source.unreadable) == [name]
    assert source.sample.num_files == N
