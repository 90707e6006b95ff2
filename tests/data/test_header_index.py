import os
import threading
from pathlib import Path

import numpy as np
import pytest

from quarterturn.data import header_index
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source

from .pictures import save_photo, truncate


@pytest.fixture
def photos(tmp_path) -> Path:
    root = tmp_path / "photos"
    for seed in range(24):
        save_photo(root / "ab"[seed % 2] / f"{seed:02d}.png", seed, 12, 16)
    (root / "a" / "empty.png").write_bytes(b"")
    return root


@pytest.fixture
def kept(tmp_path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def headers_read(monkeypatch) -> list[str]:
    """Names of the files whose headers were read."""
    names: list[str] = []
    read_size = header_index.read_size

    def read(path: Path) -> tuple[int, int]:
        names.append(path.name)
        return read_size(path)

    monkeypatch.setattr(header_index, "read_size", read)
    return names


def open_kept(root: Path, kept: Path, **options: object) -> Source:
    return open_source(str(root), index=kept, **options)


def assert_equal(one: Source, other: Source) -> None:
    assert list(one.train.names) == list(other.train.names)
    for array in ("sizes", "num_bytes", "modified_ns", "changed_ns", "labels"):
        found, expected = getattr(one.train, array), getattr(other.train, array)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    assert one.unreadable == other.unreadable
    assert one.train.fingerprint() == other.train.fingerprint()


class TestSecondOpening:
    def test_reads_no_header(self, photos, kept, headers_read):
        first = open_kept(photos, kept)
        assert len(headers_read) == 25
        headers_read.clear()
        assert_equal(open_kept(photos, kept), first)
        assert headers_read == []
        assert first.unreadable == {"a/empty.png": "the file is empty"}

    def test_writes_nothing(self, photos, kept):
        open_kept(photos, kept)
        (file,) = kept.iterdir()
        os.utime(file, (1, 1))
        open_kept(photos, kept)
        assert [f.stat().st_mtime for f in kept.iterdir()] == [1]

    @pytest.mark.parametrize("manifest", [False, True])
    def test_of_two_splits(self, tmp_path, kept, headers_read, manifest):
        lines = ["path,split"]
        for seed in range(20):
            split = "train" if seed < 12 else "test"
            save_photo(tmp_path / "set" / split / f"{seed}.png", seed)
            lines.append(f"{split}/{seed}.png,{split}")
        data = tmp_path / "set"
        if manifest:
            (data / "list.csv").write_text("\n".join(lines))
            data /= "list.csv"
        first = open_kept(data, kept)
        assert len(headers_read) == 20
        headers_read.clear()
        second = open_kept(data, kept)
        assert headers_read == []
        np.testing.assert_array_equal(second.test.sizes, first.test.sizes)
        assert (len(second.train), len(second.test)) == (12, 8)

    def test_finds_what_was_kept_after_the_opening(self, photos, kept, headers_read):
        """A new run has no directory before its images are known."""
        open_source(str(photos)).keep_index(kept)
        headers_read.clear()
        open_kept(photos, kept)
        assert headers_read == []

    def test_from_another_working_directory(self, photos, kept, headers_read, monkeypatch):
        monkeypatch.chdir(photos.parent)
        open_kept(Path("photos"), kept)
        headers_read.clear()
        monkeypatch.chdir(photos)
        open_kept(photos, kept)
        assert headers_read == []

    def test_of_other_data_keeps_an_index_of_its_own(self, photos, kept, headers_read):
        open_kept(photos, kept)
        open_kept(photos / "b", kept)
        headers_read.clear()
        open_kept(photos, kept)
        open_kept(photos / "b", kept)
        assert headers_read == []
        assert len(list(kept.iterdir())) == 2

    def test_verifies_what_was_not(self, photos, kept, headers_read):
        truncate(save_photo(photos / "a" / "cut.jpg", 5, 90, 90), 0.7)
        assert list(open_kept(photos, kept, max_bad_fraction=0.5).unreadable) == ["a/empty.png"]
        for _ in range(2):
            found = open_kept(photos, kept, verify=True, max_bad_fraction=0.5)
            assert list(found.unreadable) == ["a/cut.jpg", "a/empty.png"]
        assert len(headers_read) == 26 * 2


class TestStale:
    def test_a_changed_file_is_read_again(self, photos, kept, headers_read):
        open_kept(photos, kept)
        save_photo(photos / "a" / "04.png", 99, 20, 10)
        headers_read.clear()
        train = open_kept(photos, kept).train
        assert headers_read == ["04.png"]
        assert train.sizes[list(train.names).index("a/04.png")].tolist() == [20, 10]
        headers_read.clear()
        assert_equal(open_kept(photos, kept), open_source(str(photos)))
        assert len(headers_read) == 25  # all by the one that has no index

    def test_a_photo_turned_in_place_behind_its_size_and_time(self, photos, kept):
        """As by programs that keep the time; there is no folder whose time tells."""
        path = photos / "b" / "07.png"
        fingerprints = {open_kept(photos, kept).train.files_fingerprint()}
        before = path.stat()
        upright = path.read_bytes()
        turned = save_photo(photos.parent / "turned.png", 7, 16, 12).read_bytes()
        size = max(len(upright), len(turned))
        for content in (upright, turned):  # what follows the end of a PNG file is not read
            with path.open("r+b") as file:
                file.write(content.ljust(size, b"\0"))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            train = open_kept(photos, kept).train
            fingerprints.add(train.files_fingerprint())  # by which kept features are found
            height, width = train.sizes[list(train.names).index("b/07.png")]
            assert (height > width) == (content is turned)
        assert len(fingerprints) == 3

    def test_added_and_removed_files(self, photos, kept, headers_read):
        open_kept(photos, kept)
        save_photo(photos / "a" / "new.png", 50)
        (photos / "a" / "00.png").unlink()
        (photos / "b" / "01.png").rename(photos / "b" / "one.png")
        headers_read.clear()
        second = open_kept(photos, kept)
        assert sorted(headers_read) == ["new.png", "one.png"]
        assert_equal(second, open_source(str(photos)))
        headers_read.clear()
        open_kept(photos, kept)
        assert headers_read == []

    def test_an_unreadable_file_that_was_replaced(self, photos, kept):
        open_kept(photos, kept)
        save_photo(photos / "a" / "empty.png", 1)
        found = open_kept(photos, kept)
        assert found.unreadable == {}
        assert "a/empty.png" in found.train.names

    def test_a_file_that_is_gone_and_comes_back(self, photos, kept):
        link, elsewhere = photos / "a" / "link.png", photos.parent / "elsewhere.png"
        link.symlink_to(elsewhere)
        gone = {"a/link.png": "No such file or directory"}
        for _ in range(2):
            found = open_kept(photos, kept, max_bad_fraction=0.5)
            assert found.unreadable == gone | {"a/empty.png": "the file is empty"}
        save_photo(elsewhere, 3)
        assert "a/link.png" in open_kept(photos, kept).train.names

    def test_another_pillow_reads_again(self, photos, kept, headers_read, monkeypatch):
        open_kept(photos, kept)
        headers_read.clear()
        monkeypatch.setattr(header_index.PIL, "__version__", "99.0")
        open_kept(photos, kept)
        assert len(headers_read) == 25
        assert len(list(kept.iterdir())) == 1


class TestFile:
    def test_damaged_ones_are_made_again(self, photos, kept, headers_read):
        first = open_kept(photos, kept)
        (file,) = kept.iterdir()
        whole = file.read_bytes()
        other = photos.parent / "other.npz"
        np.savez(other, paths=np.zeros(3, np.uint8), table=np.zeros((2, 2)))
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        for damaged in (b"", b"text", whole[: len(whole) // 2], flipped, other.read_bytes()):
            file.write_bytes(damaged)
            headers_read.clear()
            assert_equal(open_kept(photos, kept), first)
            assert len(headers_read) == 25
            assert file.read_bytes() == whole

    def test_rows_that_do_not_fit_are_not_believed(self, photos, kept, headers_read):
        open_kept(photos, kept)
        (file,) = kept.iterdir()
        stored = dict(np.load(file))
        np.savez(file, **{**stored, "table": stored["table"][1:]})
        headers_read.clear()
        open_kept(photos, kept)
        assert len(headers_read) == 25

    def test_an_unwritable_cache_only_costs_time(self, photos, tmp_path):
        in_the_way = tmp_path / "file"
        in_the_way.write_text("not a folder")
        assert len(open_kept(photos, in_the_way).train) == 24

    def test_two_writers(self, photos, kept, headers_read):
        sources = [open_source(str(photos)) for _ in range(8)]
        threads = [threading.Thread(target=s.keep_index, args=(kept,)) for s in sources]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(kept.iterdir())) == 1  # and nothing left half written
        headers_read.clear()
        open_kept(photos, kept)
        assert headers_read == []

    def test_names_that_are_not_utf8(self, photos, kept, headers_read):
        try:
            (photos / "b" / "01.png").rename(os.fsdecode(os.fsencode(photos) + b"/b/caf\xe9.png"))
        except OSError:
            pytest.skip("the file system takes UTF-8 names alone")
        first = open_kept(photos, kept)
        headers_read.clear()
        assert_equal(open_kept(photos, kept), first)
        assert headers_read == []

    def test_arrays_have_none(self, kept):
        open_source("digits", index=kept)
        assert not kept.exists()


def test_many_headers_are_announced(photos, kept, monkeypatch, caplog):
    monkeypatch.setattr(header_index, "ANNOUNCED_FROM", 25)
    with caplog.at_level("INFO", logger="quarterturn"):
        open_kept(photos, kept)
        assert caplog.messages == [
            "reading the headers of 25 image files; the run stores them for reuse"
        ]
        caplog.clear()
        open_kept(photos, kept)
        assert caplog.messages == []
