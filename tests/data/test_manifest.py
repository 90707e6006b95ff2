from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterturn.data.data_argument import locate
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.labelled import open_labelled
from quarterturn.data.manifest import index_manifest
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError
from quarterturn.files import write_csv

from .pictures import photo, save, save_photo, truncate


@pytest.fixture(autouse=True)
def _no_heic(monkeypatch):
    """Whatever is installed here, the extra is not."""
    monkeypatch.setattr("quarterturn.data.indexed_files.heic_is_readable", lambda: False)


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with the photos 0.png to 23.png, of different heights."""
    for i in range(24):
        save_photo(tmp_path / f"{i}.png", i, 12 + i % 3, 16)
    return tmp_path


def write(root: Path, header: str, rows: list[str], encoding: str = "utf-8") -> str:
    path = root / "list.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding=encoding, newline="")
    return str(path)


def opened(root: Path, header: str, rows: list[str], **options) -> Source:
    return open_source(write(root, header, rows), **options)


def refusal(root: Path, header: str, rows: list[str]) -> str:
    with pytest.raises(DataError) as caught:
        opened(root, header, rows)
    return str(caught.value)


NUMBERS = [7, 3, 11, 0, 5, 2, 9, 1, 10, 4]
"""Photos in no order."""


class TestImages:
    def test_are_those_listed_in_that_order(self, root):
        source = opened(root, "path", [f"{i}.png" for i in NUMBERS])
        assert source.name == "list"
        assert source.test is None
        train = source.train
        assert train.names == [f"{i}.png" for i in NUMBERS]
        assert train.labels is None
        assert train.class_names == []
        assert train.sizes.tolist() == [[12 + i % 3, 16] for i in NUMBERS]
        assert train.num_bytes.tolist() == [(root / f"{i}.png").stat().st_size for i in NUMBERS]
        for index, i in enumerate(NUMBERS):
            np.testing.assert_array_equal(np.asarray(train.read(index)), photo(i, 12 + i % 3, 16))
        assert source.summary() == ["10 images in list"]

    def test_lie_anywhere(self, root, tmp_path_factory):
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        far = save_photo(elsewhere / "far, away.jpg", 50)
        save_photo(root / "deep" / "er" / "x.png", 51)
        plain = save(root / "no suffix", photo(52), format="PNG")
        rows = [f'"{far}"', "deep/er/x.png", "./deep/../0.png", plain.name]
        source = opened(root, "path", [*rows, *(f"{i}.png" for i in range(1, 9))])
        assert [str(source.train.path(i).resolve()) for i in range(4)] == [
            str(far),
            str(root / "deep/er/x.png"),
            str(root / "0.png"),
            str(plain),
        ]
        np.testing.assert_array_equal(np.asarray(source.train.read(3)), photo(52))

    def test_fingerprint_follows_the_list(self, root):
        rows = [f"{i}.png" for i in range(10)]
        first = opened(root, "path", rows).train.fingerprint()
        assert opened(root, "path", rows).train.fingerprint() == first
        assert opened(root, "path", rows[::-1]).train.fingerprint() != first

    def test_that_cannot_be_read_are_listed(self, root):
        (root / "empty.jpg").touch()
        (root / "notes.txt").write_text("milk, eggs")
        (root / "shot.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
        (root / "folder.png").mkdir()
        truncate(save_photo(root / "cut.jpg", 60), 0.7)
        bad = ["gone.png", "empty.jpg", "shot.HEIC", "notes.txt", "cut.jpg", "folder.png"]
        rows = [f"{i}.png,cat" for i in range(12)] + [f"{name},dog" for name in bad]
        source = opened(root, "path,label", rows, max_bad_fraction=0.5)
        assert len(source.train) == 13
        assert source.train.class_names == ["cat", "dog"]
        assert source.train.labels.tolist() == [0] * 12 + [1]
        assert source.num_heic == 1
        assert list(source.unreadable) == ["gone.png", "empty.jpg", "notes.txt", "folder.png"]
        assert source.unreadable["gone.png"] == "no such file"
        assert source.unreadable["empty.jpg"] == "the file is empty"
        assert "Is a directory" in source.unreadable["folder.png"]
        assert "left out: 1 HEIC files" in "\n".join(source.summary())
        verified = opened(root, "path,label", rows, max_bad_fraction=0.5, verify=True)
        assert len(verified.train) == 12
        assert "truncated" in verified.unreadable["cut.jpg"]
        assert verified.train.class_names == ["cat"]  # a class without readable images is none

    def test_too_many_bad_ones_stop(self, root):
        rows = [f"{i}.png,train" for i in range(12)] + [f"x{i}.png,test" for i in range(2)]
        told = refusal(root, "path,split", rows)
        assert told.startswith("2 of 14 image files cannot be read (14.3%; the limit")
        assert "\n  x0.png: no such file\n  x1.png: no such file" in told

    def test_fewer_than_8(self, root):
        rows = [f"{i}.png" for i in range(7)]
        assert "holds 7 readable images; at least 8" in refusal(root, "path", rows)


class TestColumns:
    def test_in_any_order_with_others_beside(self, root):
        rows = [f"2024,{'ab'[i % 2]},x,{i}.png,{'train' if i < 9 else 'val'}" for i in range(20)]
        source = opened(root, "year,label,,path,split", rows)
        assert (len(source.train), len(source.test), source.test_name) == (9, 11, "val")
        assert source.train.labels.tolist() == [i % 2 for i in range(9)]
        assert source.summary()[-1] == "ignored columns: year, (unnamed)"

    def test_spreadsheets_leave_their_marks(self, root):
        """A byte order mark, CRLF, blank rows, spaces beside the commas, quotes."""
        rows = [f'"{i}.png", {"ab"[i % 2]} ,train ' for i in range(10)]
        text = "\r\n".join(["path , label, split", "", *rows[:5], ",,", " ", *rows[5:], ""])
        (root / "list.CSV").write_bytes(text.encode("utf-8-sig"))
        train = open_source(str(root / "list.CSV")).train
        assert train.names == [f"{i}.png" for i in range(10)]
        assert train.class_names == ["a", "b"]
        assert train.labels.tolist() == [i % 2 for i in range(10)]

    def test_names_of_all_languages(self, root):
        name = save_photo(root / "Straße, 東京.png", 0).name
        rows = [f'"{name}",größer', *(f"{i}.png,小" for i in range(8))]
        train = opened(root, "path,label", rows).train
        assert train.names[0] == name
        assert train.class_names == ["größer", "小"]

    @pytest.mark.parametrize(
        ("header", "found"),
        [("file,label", "'file', 'label'"), ("path|label", "'path|label'"), ("", "nothing")],
    )
    def test_without_path(self, root, header, found):
        told = refusal(root, header, ["0.png,a"])
        assert f"has no column 'path': its first line has {found}" in told
        assert "expected path[,label][,split]" in told

    def test_twice(self, root):
        assert "has more than one column 'label'" in refusal(root, "path,label,label", [])

    def test_rows_of_another_length(self, root):
        told = refusal(root, "path,label", ["0.png,a", "1.png", "2, 3.png,a", "4.png,a"])
        assert "more or fewer cells than the 2 of its first line on lines 3, 4; quote" in told

    @pytest.mark.parametrize("cell", ["", '" "', "a\0b.png"])
    def test_rows_without_a_path(self, root, cell):
        told = refusal(root, "path,label", ["0.png,a", f"{cell},a"])
        assert "has no file path on line 3" in told


class TestLabels:
    def rows(self, labels: list[str]) -> list[str]:
        return [f"{i}.png,{label}" for i, label in enumerate(labels)]

    @pytest.mark.parametrize(
        ("names", "ordered"),
        [
            (["10", "9", "-1", "0"], ["-1", "0", "9", "10"]),
            (["10", "9", "x", "0"], ["0", "10", "9", "x"]),
            (["b", "B", "a b", "a"], ["B", "a", "a b", "b"]),
            (["01", "1", "2", "1_0"], ["01", "1", "1_0", "2"]),
            (["01", "1", "2", "0"], ["0", "01", "1", "2"]),
        ],
    )
    def test_are_sorted_as_words_or_integers(self, root, names, ordered):
        train = opened(root, "path,label", self.rows(names * 3)).train
        assert train.class_names == ordered
        assert train.labels.dtype == np.int64
        assert [train.class_names[label] for label in train.labels] == names * 3

    def test_a_column_of_nothing_is_no_label(self, root):
        assert opened(root, "path,label", self.rows([""] * 9)).train.labels is None

    def test_labels_of_some_images_only_count_as_none(self, root):
        train = opened(root, "path,label", self.rows(["a", "", "b", *["a"] * 7, ""])).train
        assert (train.labels, train.class_names) == (None, [])
        assert train.unlabelled == "the split 'train' has labels, but none on lines 3, 12"

    def test_those_without_are_left_out_where_needed(self, root):
        names = ["a", "", "b", *["a"] * 5, "b", "b", ""]
        source = opened(root, "path,label", self.rows(names))
        told = "2 images without a label in the split 'train', left out where labels are needed"
        assert told in source.summary()
        split = open_labelled(str(root / "list.csv"))
        words = [split.train.class_names[label] for label in split.train.labels]
        assert words == [name for name in names if name]
        assert split.train.names == [n for n, w in zip(source.train.names, names, strict=True) if w]
        assert [len(part) for part in split.parts(0)] == [7, 2]

    def test_a_test_split_may_lack_labels_too(self, root):
        rows = [
            f"{i}.png,{label}"
            for i, label in enumerate(["a,train", "b,train", "b,test", "a,test"] * 5)
        ]
        rows[2], rows[4] = "2.png,,test", "4.png,,train"
        opened(root, "path,label,split", rows)
        split = open_labelled(str(root / "list.csv"))
        assert (len(split.train), len(split.test)) == (9, 9)
        assert split.test.class_names == ["a", "b"]

    def test_long_lists_of_lines_are_cut(self, root):
        told = opened(root, "path,label", [*self.rows([""] * 23), "23.png,a"]).train.unlabelled
        assert "on lines 2, 3, 4, 5, " in told
        assert ", 20, 21 and 3 more" in told

    def test_may_be_in_one_split_only(self, root):
        rows = [f"{i}.png,{label}" for i, label in enumerate(["a,train", "b,train", ",test"] * 8)]
        source = opened(root, "path,label,split", rows)
        assert source.train.labels.tolist() == [0, 1] * 8
        assert source.test.labels is None

    def test_are_numbered_in_each_split(self, root):
        rows = [f"{i}.png,{label}" for i, label in enumerate(["a,train", "b,train", "b,test"] * 8)]
        source = opened(root, "path,label,split", rows)
        assert source.train.class_names == ["a", "b"]
        assert source.test.class_names == ["b"]


class TestSplits:
    def test_of_three_the_test_split_is_tested_on(self, root):
        rows = [f"{i}.png,{['train', 'val', 'test'][i % 3]}" for i in range(24)]
        source = opened(root, "path,split", rows)
        assert source.test_name == "test"
        assert source.train.names == [f"{i}.png" for i in range(0, 24, 3)]
        assert source.test.names == [f"{i}.png" for i in range(2, 24, 3)]
        assert source.summary()[1] == "8 images in the split 'test'"

    def test_of_other_names_are_refused(self, root):
        rows = [*(f"{i}.png,train" for i in range(9)), "9.png,validation", "10.png,", "11.png,Test"]
        told = refusal(root, "path,split", rows)
        assert "has the split 'validation', '', 'Test' on lines 11, 12, 13" in told
        assert told.endswith("expected train, val, test")

    def test_need_images_to_learn_from(self, root):
        told = refusal(root, "path,split", [f"{i}.png,test" for i in range(9)])
        assert "has no images in the split 'train'" in told
        assert "has no images in the split 'train'" in refusal(root, "path", [])


class TestDuplicates:
    def test_are_named_with_their_lines(self, root):
        rows = ["0.png,train", "1.png,train", "./0.png,test", "x/../1.png,val", f"{root}/0.png,val"]
        told = refusal(root, "path,split", rows)
        assert told.splitlines()[0].endswith("list.csv lists images more than once:")
        assert told.splitlines()[1:] == [
            f"  {root}/0.png: lines 2, 4, 6",
            f"  {root}/1.png: lines 3, 5",
        ]

    def test_are_cut_where_they_are_many(self, root):
        told = refusal(root, "path", [f"{i}.png" for i in range(24)] * 2)
        assert told.endswith("19.png: lines 21, 45\n  ... and 4 more")


class TestDamage:
    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"", "has no column 'path': its first line has nothing"),
            (b"path\ncaf\xe9.png\n", "is not UTF-8 text, as a manifest must be"),
            ("path\n0.png\n".encode("utf-16"), "is not UTF-8 text"),
            (b'path\n0.png\n"1.png\n2.png\n', "is damaged at line 4: unexpected end of data"),
            (b'path\n"0".png\n', "is damaged at line 2: "),
            (b"\x89PNG\r\n\x1a\n", "is not UTF-8 text"),
        ],
        ids=["empty", "latin-1", "utf-16", "open quote", "stray quote", "a picture"],
    )
    def test_reports_what_is_wrong(self, tmp_path, content, told):
        (tmp_path / "list.csv").write_bytes(content)
        with pytest.raises(DataError, match=r"list\.csv") as caught:
            open_source(str(tmp_path / "list.csv"))
        assert told in str(caught.value)

    def test_no_such_manifest(self, tmp_path):
        with pytest.raises(DataError, match=r"no file .*list\.csv"):
            open_source(str(tmp_path / "list.csv"))

    def test_a_folder_of_that_name_is_a_folder(self, tmp_path):
        for i in range(8):
            save_photo(tmp_path / "photos.csv" / f"{i}.png", i)
        assert len(open_source(str(tmp_path / "photos.csv")).train) == 8


class TestLocate:
    def test_paths_are_relative_to_where_the_link_lies(self, root, tmp_path_factory, monkeypatch):
        """A manifest may be kept in a store of blobs, its images beside the link to it."""
        blob = tmp_path_factory.mktemp("store") / "blob"
        blob.write_text("\n".join(["path", *(f"{i}.png" for i in range(8))]))
        (root / "list.csv").symlink_to(blob)
        monkeypatch.chdir(root)
        assert locate("list.csv") == str(root.resolve() / "list.csv")
        before = open_source("list.csv").train
        located = locate("list.csv")
        monkeypatch.chdir("/")
        assert open_source(located).train.fingerprint() == before.fingerprint()


class TestHandmade:
    """What people and spreadsheets write."""

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_separators_come_from_the_first_line(self, root, separator):
        rows = [f"{i}.png{separator}{'cat' if i % 2 else 'dog'}" for i in NUMBERS]
        train = opened(root, f"path{separator}label", rows).train
        assert train.names == [f"{i}.png" for i in NUMBERS]
        assert train.class_names == ["cat", "dog"]

    def test_cells_may_hold_the_other_separators(self, root):
        rows = [f"{i}.png,cat;small" if i % 2 else f"{i}.png,dog" for i in NUMBERS]
        assert opened(root, "path,label", rows).train.class_names == ["cat;small", "dog"]

    def test_too_many_cells_are_named_by_their_separator(self, root):
        assert "quote cells that contain a semicolon" in refusal(root, "path;label", ["0.png;a;b"])

    def test_blanks_around_paths_are_no_part_of_them(self, root):
        rows = [f" {i}.png  , cat" for i in NUMBERS]
        assert opened(root, "path,label", rows).train.names == [f"{i}.png" for i in NUMBERS]

    def test_blanks_that_are_part_of_a_name_stay(self, root):
        (root / "5.png").rename(root / " 5.png ")
        rows = [f'" {i}.png "' if i == 5 else f"{i}.png" for i in NUMBERS]
        assert " 5.png " in opened(root, "path", rows).train.names

    def test_one_image_with_and_without_blanks_is_a_duplicate(self, root):
        rows = [*(f"{i}.png" for i in NUMBERS), '"5.png "']
        assert "lists images more than once" in refusal(root, "path", rows)

    def test_a_csv_file_of_ours_is_a_manifest(self, root):
        (root / "5.png").rename(root / "=5.png")
        names = [f"{'=' if i == 5 else ''}{i}.png" for i in NUMBERS]
        write_csv(root / "list.csv", ["path"], [[name] for name in names])
        assert "'=5.png" in (root / "list.csv").read_text()
        assert open_source(str(root / "list.csv")).train.names == names


@settings(max_examples=20)
@given(st.text(max_size=200) | st.text("path,label;\t\n\"' .png012", max_size=200))
def test_any_text_is_read_or_refused_in_words(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzzed.csv"
    path.write_text("path,label\n" + text if len(text) % 2 else text, "utf-8", newline="")
    with suppress(DataError):  # any other error fails
        assert "train" in index_manifest(path, HeaderIndex(str(path))).splits
