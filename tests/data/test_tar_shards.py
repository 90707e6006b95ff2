"""Images in `.tar` files: as in a folder of the same files, and nothing lost where they are bad."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from quarterturn.config import DataConfig
from quarterturn.data import archive_index
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.data.tar_shard import TarShard, label_of, read_tar
from quarterturn.errors import DataError

from .pictures import oriented, photo, save, save_photo, truncate
from .shards import sample, write_tar

N = 24
CROP = DataConfig(image_size=16)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Two classes of JPEG and PNG files, some stored sideways."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for i in range(N):
        file = root / ("cat" if i < N // 2 else "dog") / f"{i:02d}.{'jpg' if i % 3 else 'png'}"
        options = {"exif": oriented(6)} if i % 4 == 1 else {}
        save(file, photo(i, 20 + i % 5, 30 - i % 7), **options)
    return root


def files_of(root: Path) -> list[Path]:
    return sorted(file for file in root.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def shards(photos) -> Path:
    """The same files in three archives, labelled by name."""
    root = photos.parent / "shards"
    files = files_of(photos)
    for number in range(3):
        part = files[number * N // 3 : (number + 1) * N // 3]
        members = [m for f in part for m in sample(f.stem, f, f.parent.name)]
        write_tar(root / f"photos-{number:06d}.tar", members)
    return root


def plain(images: list[Path]) -> list[tuple[str, bytes]]:
    return [(file.name, file.read_bytes()) for file in images]


def test_shards_hold_what_the_folder_holds(photos, shards):
    folder, found = open_source(str(photos)).train, open_source(str(shards)).train
    assert found.names[:2] == ["photos-000000.tar/00.png", "photos-000000.tar/01.jpg"]
    assert [Path(name).name for name in found.names] == [Path(name).name for name in folder.names]
    assert found.labels.tolist() == folder.labels.tolist()
    assert found.class_names == ["cat", "dog"]
    np.testing.assert_array_equal(found.sizes, folder.sizes)
    np.testing.assert_array_equal(found.num_bytes, folder.num_bytes)
    for index in range(N):
        np.testing.assert_array_equal(found.read(index, 2.0), folder.read(index, 2.0))
    assert not found.are_files
    assert folder.are_files
    assert found.fingerprint() != found.subset(np.arange(N)[::-1]).fingerprint()
    assert found.identity(3, "") == str(shards / "photos-000000.tar" / "03.png")
    assert found.identities("") == {found.identity(i, "") for i in range(N)}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_folder(photos, shards, workers):
    options = {"batch_size": 8, "seed": 3, "workers": workers}
    expected = TrainingBatches(open_source(str(photos)).train, CROP, **options)
    found = TrainingBatches(open_source(str(shards)).train, CROP, **options)
    for one, other in zip(found.epoch(1), expected.epoch(1), strict=True):
        assert one.indices.tolist() == other.indices.tolist()
        assert (one.images == other.images).all()


def test_each_process_reads_only_its_share(shards, monkeypatch):
    read: list[set[tuple[str, int]]] = []
    whole = TarShard.content

    def reading(shard: TarShard, place: int) -> bytes:
        read[-1].add((shard.path, place))
        return whole(shard, place)

    monkeypatch.setattr(TarShard, "content", reading)
    for rank in range(2):
        read.append(set())
        images = open_source(str(shards)).train
        read[-1].clear()  # of headers
        batches = TrainingBatches(images, CROP, batch_size=8, seed=3, rank=rank, world_size=2)
        assert sum(len(batch.indices) for batch in batches.epoch(0)) == N // 2
    assert [len(of_rank) for of_rank in read] == [N // 2, N // 2]
    assert not read[0] & read[1]


def test_one_archive_and_a_pattern_are_data_too(shards, monkeypatch):
    one = open_source(str(shards / "photos-000001.tar"))
    assert (one.name, len(one.train)) == ("photos-000001", N // 3)
    pattern = open_source(str(shards / "photos-{000002..000000}.tar"))
    assert pattern.name == "photos"
    assert pattern.train.names[0] == "photos-000002.tar/16.jpg"
    assert len(open_source(str(shards / "*.tar")).train) == N
    monkeypatch.chdir(shards)
    listed = open_source("photos-00000{0,2}.tar").train
    assert {name.split("/")[0] for name in listed.names} == {
        "photos-000000.tar",
        "photos-000002.tar",
    }


def test_missing_files_of_a_pattern_are_named(shards):
    with pytest.raises(DataError, match=r"5 files, of which 2 do not exist: .*-000003.tar, .*4"):
        open_source(str(shards / "photos-{000000..000004}.tar"))
    with pytest.raises(DataError, match=r"\{a\} is no pattern"):
        open_source(str(shards / "photos-{a}.tar"))
    with pytest.raises(DataError, match=r"1 do not exist: .*cats-\*.tar"):
        open_source(str(shards / "cats-*.tar"))
    with pytest.raises(DataError, match="more than 100,000 files"):
        open_source(str(shards / "{0..9999}-{0..9999}.tar"))


def test_folders_named_as_splits_hold_shards(photos, tmp_path):
    files = files_of(photos)
    for split, part in (("train", files[::2]), ("valid", files[1::2])):
        members = [m for f in part for m in sample(f.stem, f, f.parent.name)]
        write_tar(tmp_path / split / "0.tar", members)
    write_tar(tmp_path / "extra" / "0.tar", plain(files[:3]))
    source = open_source(str(tmp_path))
    assert (len(source.train), source.test_name, len(source.test)) == (12, "val", 12)
    assert source.test.class_names == ["cat", "dog"]
    assert "shards beside the splits, which are not used: 1 in extra/" in source.summary()


def test_file_names_name_the_splits(photos, tmp_path):
    files = files_of(photos)
    for name in ("zoo-train-000", "zoo-train-001", "zoo-test-000"):
        write_tar(tmp_path / f"{name}.tar", plain(files))
    for name in ("train-0", "train-1"):
        write_tar(tmp_path / "cats" / f"{name}.tar", plain(files))
    assert open_source(str(tmp_path / "cats" / "train-{0,1}.tar")).name == "cats"
    source = open_source(str(tmp_path / "zoo-{train,test}-00*.tar"))
    assert source.name == "zoo"
    assert (len(source.train), source.test_name, len(source.test)) == (2 * N, "test", N)
    assert len(open_source(str(tmp_path / "zoo-test-000.tar")).train) == N


def test_labels_are_text_numbers_or_json(photos, tmp_path):
    files = files_of(photos)
    members = []
    for i, file in enumerate(files):
        members += sample(str(i), file)
        if i % 2:
            members.append((f"{i}.json", json.dumps({"label": i % 11, "width": 30}).encode()))
        else:
            members.append((f"{i}.cls", b"%d\n" % (i % 11)))
    images = open_source(str(write_tar(tmp_path / "a.tar", members))).train
    assert images.class_names == [str(label) for label in range(11)]  # by value, not as words
    assert images.labels.tolist() == [i % 11 for i in range(N)]


def test_several_labels_in_json(photos, tmp_path):
    members = []
    for i, file in enumerate(files_of(photos)):
        labels = ["wet"] * (i % 2) + ["big"] * (i % 3 == 0)
        members += [*sample(str(i), file), (f"{i}.json", json.dumps({"label": labels}).encode())]
    images = open_source(str(write_tar(tmp_path / "a.tar", members))).train
    assert images.class_names == ["big", "wet"]
    assert images.label_sets.tolist() == [[int(i % 3 == 0), i % 2] for i in range(N)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, "3"),
        (" cat\n", "cat"),
        (["a", 2], ["a", "2"]),
        ([], []),
        (-1, None),
        (True, None),
        ("", None),
        (0.5, None),
        ({"a": 1}, None),
        (["a", None], None),
    ],
)
def test_what_is_taken_as_a_label(value, expected):
    assert label_of(value) == expected


def test_some_images_without_labels(photos, tmp_path):
    files = files_of(photos)
    members = [m for i, f in enumerate(files) for m in sample(f.stem, f, None if i == 5 else "a")]
    images = open_source(str(write_tar(tmp_path / "a.tar", members))).train
    assert images.labels is None
    assert images.unlabelled == (
        "the split 'train' has labels, but 1 of its 24 images have none, such as a.tar/05.jpg"
    )


def test_folders_in_an_archive_are_labels(photos, tmp_path):
    path = tmp_path / "photos.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(photos, arcname=".")  # folders are members too
    images, folder = open_source(str(path)).train, open_source(str(photos)).train
    assert sorted(images.names) == sorted(f"photos.tar/{name}" for name in folder.names)
    assert images.class_names == folder.class_names
    of = dict(zip(folder.names, folder.labels.tolist(), strict=True))
    names = [name.partition("/")[2] for name in images.names]
    assert images.labels.tolist() == [of[name] for name in names]


def test_other_members_are_counted(photos, tmp_path):
    members = []
    for file in files_of(photos):
        members += [*sample(file.stem, file), (f"{file.stem}.txt", b"a cat")]
        members += [(f"{file.stem}.seg.png", file.read_bytes())]
    members += [("._00.png", b"?"), ("README", b"?")]
    source = open_source(str(write_tar(tmp_path / "a.tar", members)))
    assert len(source.train) == N
    assert source.ignored == {".txt": N, ".seg.png": N, "hidden": 1, "(no suffix)": 1}


def test_images_that_cannot_be_taken_are_listed(photos, tmp_path):
    files = files_of(photos)
    members = [m for f in files for m in sample(f.stem, f)]
    members += [("00.jpg", files[1].read_bytes()), ("../out.jpg", files[1].read_bytes())]
    members += [("/abs.jpg", files[1].read_bytes()), ("empty.jpg", b"")]
    members += [("01.JPG", files[1].read_bytes())]
    members += [("half.jpg", files[1].read_bytes()[:300]), ("text.png", b"no picture" * 9)]
    path = write_tar(tmp_path / "a.tar", members)
    with tarfile.open(path, "a") as archive:
        for kind, name in ((tarfile.SYMTYPE, "sym.jpg"), (tarfile.LNKTYPE, "hard.jpg")):
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, "01.jpg"
            archive.addfile(about)
    source = open_source(str(path), max_bad_fraction=0.5, verify=True)
    several = "its key has several images, .png and .jpg; expected one"
    link = "a link or a device in the archive; expected the image itself"
    outside = "its name leads out of the archive"
    reasons = dict(source.unreadable)
    assert reasons.pop("a.tar/half.jpg")  # Pillow's words
    assert reasons == {
        "a.tar/00.png": several,
        "a.tar/00.jpg": several,
        "a.tar/01.jpg": several.replace(".png and .jpg", ".jpg and .JPG"),
        "a.tar/01.JPG": several.replace(".png and .jpg", ".jpg and .JPG"),
        "a.tar/../out.jpg": outside,
        "a.tar//abs.jpg": outside,
        "a.tar/sym.jpg": link,
        "a.tar/hard.jpg": link,
        "a.tar/empty.jpg": "the file is empty",
        "a.tar/text.png": "cannot identify image file 'text.png'",
    }
    assert len(source.train) == N - 2
    with pytest.raises(DataError, match=r"11 of 33 image files cannot be read.*max-bad-fraction"):
        open_source(str(path), verify=True)


def test_reasons_are_those_of_the_folder(photos, tmp_path):
    folder = tmp_path / "folder"
    for i in range(12):
        save_photo(folder / f"{i:02d}.jpg", i)
    truncate(folder / "03.jpg", 0.6)
    (folder / "04.jpg").write_bytes(b"\0\0\0\x1cftypheic" + bytes(40))
    (folder / "05.jpg").write_bytes(b"")
    path = write_tar(tmp_path / "x.tar", plain(files_of(folder)))
    options = {"max_bad_fraction": 0.5, "verify": True}
    expected = open_source(str(folder), **options).unreadable
    found = open_source(str(path), **options).unreadable
    assert found == {f"x.tar/{name}": reason for name, reason in expected.items()}
    assert len(found) == 3


def test_a_repeated_name_is_refused(photos, tmp_path):
    members = plain(files_of(photos))
    path = write_tar(tmp_path / "a.tar", [*members, members[3]])
    with pytest.raises(DataError, match=r"a.tar has more than one member named '03.png'"):
        open_source(str(path))


def test_every_cut_is_noticed(photos, tmp_path):
    whole = write_tar(tmp_path / "whole.tar", plain(files_of(photos)[:6])).read_bytes()
    end = len(whole.rstrip(b"\0"))
    end += -end % 512  # of the last member
    path = tmp_path / "cut.tar"
    cuts = [*range(0, end + 1, 512), *range(37, end, 997), end - 1, end + 100]
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"cut.tar is damaged or cut off after"):
            read_tar(str(path))
    path.write_bytes(whole[: end + 512])
    assert len(read_tar(str(path)).names) == 6


def test_a_damaged_header_is_no_end(photos, tmp_path):
    path = write_tar(tmp_path / "a.tar", plain(files_of(photos)[:6]))
    content = bytearray(path.read_bytes())
    content[read_tar(str(path)).offsets[3] - 512 + 150] ^= 1  # a digit of the checksum
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a.tar is damaged or cut off after 02.jpg"):
        read_tar(str(path))


def test_joined_archives_are_refused(shards, tmp_path):
    path = tmp_path / "joined.tar"
    parts = sorted(shards.iterdir())
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(DataError, match="joined with cat"):
        open_source(str(path))


@pytest.mark.parametrize(("suffix", "mode"), [("gz", "w:gz"), ("bz2", "w:bz2"), ("xz", "w:xz")])
def test_compressed_archives_are_refused(photos, tmp_path, suffix, mode):
    for name in (f"a.tar.{suffix}", "really.tar"):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(photos, arcname=".")
    with pytest.raises(DataError, match=rf"a.tar.{suffix} is compressed.*decompress it to a .tar"):
        open_source(str(tmp_path / f"a.tar.{suffix}"))
    with pytest.raises(DataError, match=r"a.tar.* is compressed"):
        open_source(str(tmp_path))
    with pytest.raises(DataError, match=r"really.tar is compressed \(\w+\)"):
        open_source(str(tmp_path / "really.tar"))


def test_archives_beside_photos_are_ignored(photos, shards, tmp_path):
    for file in [*files_of(photos), *shards.iterdir()]:
        (tmp_path / file.name).symlink_to(file)
    source = open_source(str(tmp_path))
    assert (len(source.train), source.ignored) == (N, {".tar": 3})
    for file in files_of(photos)[5:]:
        (tmp_path / file.name).unlink()
    with pytest.raises(DataError, match=r"5 readable images(.|\n)*shards are read from a folder"):
        open_source(str(tmp_path))


class TestKeptIndex:
    @pytest.fixture
    def own(self, shards, tmp_path) -> Path:
        for file in shards.iterdir():
            (tmp_path / "own").mkdir(exist_ok=True)
            (tmp_path / "own" / file.name).write_bytes(file.read_bytes())
        return tmp_path / "own"

    @pytest.fixture
    def read(self, monkeypatch) -> list[str]:
        """The archives that are read, by name."""
        names = []

        def reading(path: str) -> archive_index.TarContents:
            names.append(Path(path).name)
            return read_tar(path)

        monkeypatch.setattr(archive_index, "read_tar", reading)
        return names

    def open_kept(self, own: Path) -> Source:
        return open_source(str(own), index=own.parent / "index")

    def test_is_read_in_place_of_archives(self, own, read):
        first = self.open_kept(own)
        assert len(read) == 3
        second = self.open_kept(own)
        assert len(read) == 3
        assert second.train.names == first.train.names
        assert second.train.labels.tolist() == first.train.labels.tolist()
        assert second.train.fingerprint() == first.train.fingerprint()
        np.testing.assert_array_equal(second.train.read(7), first.train.read(7))

    def test_a_changed_archive_is_read_again(self, own, read):
        first = self.open_kept(own)
        path = own / "photos-000001.tar"
        file = own.parent / "new.jpg"
        save_photo(file, 99)
        write_tar(path, sample("new", file, "cat"))
        with pytest.raises(UnreadableImageError, match=r"photos-000001.tar has changed since"):
            first.train.read(10)
        second = self.open_kept(own)
        assert read[3:] == ["photos-000001.tar"]
        assert second.train.names[8] == "photos-000001.tar/new.jpg"
        assert second.train.fingerprint() != first.train.fingerprint()
        os.utime(path, ns=(1, 1))  # of the same size
        self.open_kept(own)
        assert read[4:] == ["photos-000001.tar"]

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"about": 3}', None])
    def test_a_damaged_index_is_made_again(self, own, read, content):
        self.open_kept(own)
        (kept,) = (own.parent / "index").glob("archives-*.json")
        whole = json.loads(kept.read_text())
        if content is None:
            next(iter(whole["archives"].values()))["labels"].pop()
            content = json.dumps(whole).encode()
        kept.write_bytes(content)
        assert len(self.open_kept(own).train) == N
        assert len(read) == 6
        assert json.loads(kept.read_text())["about"]


def test_an_archive_that_shrinks_is_noticed(shards, tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes((shards / "photos-000000.tar").read_bytes())
    images = open_source(str(path)).train
    about = path.stat()
    truncate(path, 0.3)
    with pytest.raises(UnreadableImageError, match=r"a.tar has changed"):
        images.read(7)
    path.unlink()
    with pytest.raises(UnreadableImageError, match=r"a.tar: No such file"):
        images.read(0)
    assert about.st_size > 0


def test_names_of_any_bytes_and_length(photos, tmp_path):
    content = files_of(photos)[0].read_bytes()
    names = [f"{'long' * 60}/{i:02d}.png" for i in range(6)] + [
        "caf\udce9.png",
        "\u00e9t\u00e9.png",
    ]
    path = write_tar(tmp_path / "a.tar", [(name, content) for name in names])
    source = open_source(str(path), index=tmp_path / "index")
    assert source.train.names == [f"a.tar/{name}" for name in names]
    assert open_source(str(path), index=tmp_path / "index").train.names == source.train.names
    assert source.train.read(6).size == source.train.read(0).size


def test_an_empty_archive_has_no_images(tmp_path):
    path = write_tar(tmp_path / "a.tar", [])
    with pytest.raises(DataError, match=r"a.tar holds 0 readable images; at least 8"):
        open_source(str(path))
    assert read_tar(str(path)).names == []
    (tmp_path / "zero.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"zero.tar is damaged or cut off.*empty"):
        read_tar(str(tmp_path / "zero.tar"))
    with pytest.raises(DataError, match=r"a directory|Is a directory"):
        read_tar(str(tmp_path))


def test_grey_values_of_16_bits(tmp_path):
    values = np.linspace(0, 4000, 12 * 16).reshape(12, 16).astype(np.uint16)
    files = [save(tmp_path / "folder" / f"{i}.png", values + i) for i in range(8)]
    path = write_tar(tmp_path / "a.tar", plain(files))
    folder, found = open_source(str(tmp_path / "folder")).train, open_source(str(path)).train
    assert found.decoding == folder.decoding
    assert found.decoding.levels.white == 4095
    np.testing.assert_array_equal(found.read(3), folder.read(3))


def test_extended_headers_are_no_members(tmp_path):
    """A pax archive with long attributes, as other producers write it."""
    path = tmp_path / "pax.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for i in range(8):
            content = io.BytesIO()
            save_photo(tmp_path / "x.png", i)
            content.write((tmp_path / "x.png").read_bytes())
            about = tarfile.TarInfo(f"{i}.png")
            about.size, about.pax_headers = content.tell(), {"comment": "x" * 2000}
            content.seek(0)
            archive.addfile(about, content)
    images = open_source(str(path)).train
    np.testing.assert_array_equal(images.read(5), photo(5))
