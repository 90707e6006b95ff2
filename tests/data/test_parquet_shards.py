"""Images in `.parquet` files: as in a folder of the same files, and words where they are bad."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarterturn.config import DataConfig
from quarterturn.data import header_index, parquet_shard
from quarterturn.data import shards as indexed_shards
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError
from quarterturn.orientation.folds import duplicate_groups

from .pictures import oriented, photo, save
from .shards import as_structs, image_and_label, write_parquet

pa = pytest.importorskip("pyarrow")

N = 24
CROP = DataConfig(image_size=16)
CLASSES = ["cat", "dog"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two classes of JPEG and PNG files, some stored sideways; the last is a copy of the first."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for i in range(N - 1):
        file = root / ("cat" if i < N // 2 else "dog") / f"{i:02d}.{'jpg' if i % 3 else 'png'}"
        options = {"exif": oriented(6)} if i % 4 == 1 else {}
        save(file, photo(i, 20 + i % 5, 30 - i % 7), **options)
    (root / "dog" / "23.png").write_bytes((root / "cat" / "00.png").read_bytes())
    return root


@pytest.fixture(scope="module")
def files(photos) -> list[Path]:
    return sorted(file for file in photos.rglob("*") if file.is_file())


LABELS = [0] * (N // 2) + [1] * (N // 2)


@pytest.fixture(scope="module")
def shards(photos, files) -> Path:
    """The same files as `datasets` would push them, in two files of row groups of five."""
    root = photos.parent / "dataset"
    for number in range(2):
        part = slice(number * N // 2, (number + 1) * N // 2)
        columns = {"image": as_structs(files[part]), "label": LABELS[part]}
        name = f"train-{number:05d}-of-00002.parquet"
        write_parquet(root / "data" / name, columns, image_and_label(CLASSES))
    (root / "README.md").write_text("a dataset card")
    return root


def test_shards_hold_what_the_folder_holds(photos, shards):
    folder, found = open_source(str(photos)).train, open_source(str(shards)).train
    assert found.names[13] == "data/train-00001-of-00002.parquet/13.jpg"
    assert [Path(name).name for name in found.names] == [Path(name).name for name in folder.names]
    assert found.labels.tolist() == folder.labels.tolist()
    assert found.class_names == CLASSES
    np.testing.assert_array_equal(found.sizes, folder.sizes)
    for index in range(N):
        np.testing.assert_array_equal(found.read(index, 2.0), folder.read(index, 2.0))
    groups = duplicate_groups(found)
    assert groups.tolist() == duplicate_groups(folder).tolist()
    assert groups[0] == groups[23]
    part = np.arange(0, N, 2)
    assert (
        found.subset(part).fingerprint()
        == open_source(str(shards)).train.subset(part).fingerprint()
        != found.subset(part + 1).fingerprint()
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_folder(photos, shards, workers):
    options = {"batch_size": 8, "seed": 3, "workers": workers}
    expected = TrainingBatches(open_source(str(photos)).train, CROP, **options)
    found = TrainingBatches(open_source(str(shards)).train, CROP, **options)
    for one, other in zip(found.epoch(1), expected.epoch(1), strict=True):
        assert one.indices.tolist() == other.indices.tolist()
        assert (one.images == other.images).all()


@pytest.mark.parametrize(
    "names",
    [
        ("train-00000-of-00001", "validation-00000-of-00001"),
        ("default/train/0000", "default/test/0000"),
        ("train/a", "dev/a"),
    ],
)
def test_names_of_files_and_folders_are_splits(files, tmp_path, names):
    for name in names:
        columns = {"image": as_structs(files), "label": LABELS}
        write_parquet(tmp_path / f"{name}.parquet", columns, image_and_label(CLASSES))
    source = open_source(str(tmp_path))
    expected = "test" if "test" in names[1] else "val"
    assert (len(source.train), source.test_name, len(source.test)) == (N, expected, N)
    assert source.test.class_names == CLASSES


def write_plain(path: Path, files: list[Path], **columns: Any) -> Path:
    return write_parquet(path, {"picture": [file.read_bytes() for file in files], **columns})


def test_plain_bytes_are_named_by_their_rows(files, tmp_path):
    labels = ["b", "a", "c"] * (N // 3)
    path = write_plain(tmp_path / "x.parquet", files, label=labels, caption=["?"] * N)
    source = open_source(str(path))
    assert source.train.names[:2] == ["x.parquet/00", "x.parquet/01"]
    assert source.train.class_names == ["a", "b", "c"]
    assert source.train.labels.tolist() == [1, 0, 2] * (N // 3)
    assert "ignored columns: caption" in source.summary()
    np.testing.assert_array_equal(source.train.read(6), photo(6, 21, 24))


@pytest.mark.parametrize("paths", [["a.png"] * N, [f"../{i}.png" for i in range(N)], [None] * N])
def test_paths_that_name_no_row_are_not_names(files, tmp_path, paths):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": f.read_bytes(), "path": p} for f, p in zip(files, paths, strict=True)]
    path = write_parquet(tmp_path / "x.parquet", {"image": pa.array(rows, kind)})
    assert open_source(str(path)).train.names[10] == "x.parquet/10"


@pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary_view()])
def test_bytes_of_other_types(files, tmp_path, kind):
    column = pa.array([file.read_bytes() for file in files], kind)
    path = write_parquet(tmp_path / "x.parquet", {"image": column})
    np.testing.assert_array_equal(open_source(str(path)).train.read(6), photo(6, 21, 24))


def test_without_metadata_numbers_are_classes(files, tmp_path):
    path = write_plain(tmp_path / "x.parquet", files, label=[i % 11 for i in range(N)])
    images = open_source(str(path)).train
    assert images.class_names == [str(i) for i in range(11)]
    assert images.labels.tolist() == [i % 11 for i in range(N)]


def test_lists_of_labels(files, tmp_path):
    labels = [[0, 1] if i % 2 else [2] for i in range(N)]
    features = image_and_label(["wet", "big", "old"])
    features["label"] = {"feature": features["label"], "_type": "List"}
    columns = {"image": as_structs(files), "label": labels}
    images = open_source(str(write_parquet(tmp_path / "x.parquet", columns, features))).train
    assert images.class_names == ["big", "old", "wet"]
    assert images.label_sets.tolist() == [[1, 0, 1] if i % 2 else [0, 1, 0] for i in range(N)]


@pytest.mark.parametrize("missing", [None, -1])
def test_some_rows_without_labels(files, tmp_path, missing):
    columns = {"image": as_structs(files), "label": [missing, *LABELS[1:]]}
    path = write_parquet(tmp_path / "x.parquet", columns, image_and_label(CLASSES))
    images = open_source(str(path)).train
    assert images.labels is None
    assert "1 of its 24 images have none, such as x.parquet/00.png" in images.unlabelled


def test_several_columns_of_labels(files, tmp_path):
    names = {"names": CLASSES, "_type": "ClassLabel"}
    columns = {"image": as_structs(files), "fine": LABELS, "coarse": LABELS}
    features = {"image": {"_type": "Image"}, "fine": names, "coarse": names}
    path = write_parquet(tmp_path / "x.parquet", columns, features)
    images = open_source(str(path)).train
    assert images.unlabelled == ("it has several columns of labels, fine, coarse; name one 'label'")


def test_the_column_of_images(files, tmp_path):
    bytes_of = [file.read_bytes() for file in files]
    no_images = write_parquet(tmp_path / "none.parquet", {"text": ["?"] * N, "n": LABELS})
    expected = r"none.parquet has no column of images; .*text \(string\), n \(int64\)"
    with pytest.raises(DataError, match=expected):
        open_source(str(no_images))
    two = {"left": bytes_of, "right": bytes_of}
    with pytest.raises(DataError, match="2 columns of images: left, right; expected one"):
        open_source(str(write_parquet(tmp_path / "two.parquet", two)))
    named = {"mask": [b"?"] * N, "image": bytes_of}
    source = open_source(str(write_parquet(tmp_path / "named.parquet", named)))
    assert source.train.read(0).size == (30, 20)
    assert "ignored columns: mask" in source.summary()
    declared = {"embedding": [b"?"] * N, "photo": bytes_of}
    path = write_parquet(tmp_path / "d.parquet", declared, {"photo": {"_type": "Image"}})
    assert open_source(str(path)).train.read(0).size == (30, 20)


def test_rows_without_an_image_are_listed(files, tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows: list[Any] = [{"bytes": f.read_bytes(), "path": f.name} for f in files]
    rows[1] = {"bytes": None, "path": "elsewhere.jpg"}
    rows[2] = {"bytes": b"", "path": "empty.jpg"}
    rows[3] = {"bytes": b"text" * 20, "path": "text.jpg"}
    path = write_parquet(tmp_path / "x.parquet", {"image": pa.array(rows, kind)})
    source = open_source(str(path), max_bad_fraction=0.5)
    assert source.unreadable == {
        "x.parquet/elsewhere.jpg": "no image in this row: its bytes are null",
        "x.parquet/empty.jpg": "the file is empty",
        "x.parquet/text.jpg": "cannot identify image file 'text.jpg'",
    }
    rows[4] = None
    path = write_parquet(tmp_path / "y.parquet", {"image": pa.array(rows, kind)})
    bad = open_source(str(path), max_bad_fraction=0.5).unreadable
    assert bad["y.parquet/04"] == "no image in this row: its bytes are null"


def test_damaged_files_are_refused_or_listed(shards, tmp_path):
    (one, _) = sorted((shards / "data").iterdir())
    whole = one.read_bytes()
    path = tmp_path / "x.parquet"
    for content in (b"", b"PAR1", whole[: len(whole) // 2], whole[:-20] + bytes(16) + whole[-4:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x.parquet is damaged, or no parquet file: "):
            open_source(str(path))
    path.write_bytes(whole[:4] + bytes(3000) + whole[3004:])  # pages of the first row group
    source = open_source(str(path), max_bad_fraction=0.9, min_images=1)
    assert set(source.unreadable.values()) != {""}
    reasons = [reason for name, reason in source.unreadable.items() if name[-6:-4] < "05"]
    assert len(reasons) == 5
    assert all("row group 0 of x.parquet" in reason for reason in reasons)


def test_a_changed_file_is_noticed(shards, files, tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    path.write_bytes((shards / "data" / "train-00000-of-00002.parquet").read_bytes())
    images = open_source(str(path)).train
    before = images.fingerprint()
    write_plain(path, files[::-1])
    monkeypatch.setattr(parquet_shard, "_row_groups", parquet_shard._RowGroups())
    with pytest.raises(UnreadableImageError, match=r"x.parquet has changed since it was indexed"):
        images.read(0)
    assert open_source(str(path)).train.fingerprint() != before


def test_row_groups_are_read_once_while_they_are_kept(shards, monkeypatch):
    read: list[int] = []
    whole = parquet_shard.ParquetShard.read_group

    def reading(shard: parquet_shard.ParquetShard, group: int) -> Any:
        read.append(group)
        return whole(shard, group)

    monkeypatch.setattr(parquet_shard, "_row_groups", parquet_shard._RowGroups())
    monkeypatch.setattr(parquet_shard.ParquetShard, "read_group", reading)
    images = open_source(str(shards)).train
    order = np.random.default_rng(0).permutation(N).tolist()
    pixels = [np.asarray(images.read(i)) for i in order]
    assert len(read) == 6  # three row groups of each of two files, headers included
    monkeypatch.setattr(parquet_shard, "MAX_KEPT_BYTES", 0)
    monkeypatch.setattr(parquet_shard, "_row_groups", parquet_shard._RowGroups())
    again = [np.asarray(images.read(i)) for i in order]
    assert 15 < len(read) - 6 <= N  # only the last row group is kept
    assert all((a == b).all() for a, b in zip(pixels, again, strict=True))


def test_a_sample_of_headers_spares_row_groups(files, tmp_path, monkeypatch):
    monkeypatch.setattr(header_index, "NUM_CHECKED", 150)
    path = write_parquet(
        tmp_path / "x.parquet",
        {"image": [files[i % N].read_bytes() for i in range(300)]},
        rows_in_group=3,
    )
    source = open_source(str(path))
    assert source.sample.num_files == 64
    looked_at = np.flatnonzero(source.train.sizes[:, 0])
    assert len(set((looked_at // 3).tolist())) == 64
    assert looked_at.max() - looked_at.min() > 200
    assert open_source(str(path), verify=True).sample.num_files == 300


def test_large_row_groups_are_warned_of(shards, monkeypatch, caplog):
    monkeypatch.setattr(indexed_shards, "LARGE_GROUP", 2000)
    open_source(str(shards))
    assert not caplog.messages
    monkeypatch.setattr(indexed_shards, "MAX_KEPT_BYTES", 10_000)
    open_source(str(shards))
    assert "a row group of 0 MB" in caplog.text
    assert "quarterturn cache DATA" in caplog.text


def test_without_pyarrow_the_extra_is_named(shards, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DataError, match=r"pip install 'quarterturn\[parquet\]'"):
        open_source(str(shards))
