import numpy as np
import pytest

from quarterturn.data.labelled import open_labelled
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from .trees import FOLDER_OF, IMAGES, write_list, write_places


def test_both_splits_as_listed(tmp_path):
    listed = write_places(tmp_path)
    source = open_source(f"places205:{tmp_path}")
    assert (source.name, source.test_name) == ("places205", "val")
    for images, rows in ((source.train, listed["train"]), (source.test, listed["val"])):
        assert list(zip(images.names, images.labels.tolist(), strict=True)) == rows
        assert images.labels.dtype == np.int64
        assert len(images.class_names) == 205
        assert [images.class_names[c] for c in FOLDER_OF] == list(FOLDER_OF.values())
        assert images.class_names[2] == "2"  # of no image
        assert images.sizes[3].tolist() == [16, 23]
        assert images.read(3).size == (23, 16)


def test_serves_a_probe(tmp_path):
    listed = write_places(tmp_path)
    split = open_labelled(f"places205:{tmp_path}")
    assert split.test.labels.tolist() == [label for _, label in listed["val"]]


def test_classes_that_share_a_folder_are_numbers(tmp_path):
    listed = write_places(tmp_path)["train"]
    write_list(tmp_path, "train", [*listed[:-1], (listed[-1][0], 3)])
    train = open_source(f"places205:{tmp_path}").train
    assert train.class_names == [str(c) for c in range(205)]
    assert train.labels[-1] == 3


def test_listed_images_that_are_not_there_are_unreadable(tmp_path):
    listed = write_places(tmp_path)
    name = listed["train"][2][0]
    (tmp_path / IMAGES / name).unlink()
    source = open_source(f"places205:{tmp_path}", max_bad_fraction=0.1)
    assert source.unreadable == {name: "No such file or directory"}
    expected = [label for n, label in listed["train"] if n != name]
    assert source.train.labels.tolist() == expected
    with pytest.raises(DataError, match="1 of 18 image files cannot be read"):
        open_source(f"places205:{tmp_path}", max_bad_fraction=0.01)


class TestUnfit:
    def test_no_list(self, tmp_path):
        write_places(tmp_path)
        file = tmp_path / "trainvalsplit_places205" / "val_places205.csv"
        file.unlink()
        with pytest.raises(DataError, match=f"no file {file}: expected train_places205.csv and"):
            open_source(f"places205:{tmp_path}")

    def test_no_image_at_all(self, tmp_path):
        write_places(tmp_path)
        (tmp_path / "data").rename(tmp_path / "elsewhere")
        expected = tmp_path / IMAGES / "b/bar/gsun_train_99.jpg"
        with pytest.raises(DataError, match=f"none of the 12 images of train .*{expected}"):
            open_source(f"places205:{tmp_path}")

    @pytest.mark.parametrize("line", ["a/abbey/x.jpg 205", "a/x.jpg -1", "a/x.jpg", "a/x.jpg,3"])
    def test_lines(self, tmp_path, line):
        listed = write_places(tmp_path)
        file = write_list(tmp_path, "train", listed["train"])
        file.write_text(file.read_text() + f"\n{line}\n")
        with pytest.raises(DataError) as caught:
            open_source(f"places205:{tmp_path}")
        assert f"has {line!r} on line 14; expected the path" in str(caught.value)
        assert "0 to 204" in str(caught.value)

    def test_empty_and_binary_lists(self, tmp_path):
        write_places(tmp_path)
        write_list(tmp_path, "val", []).write_text("\n")
        with pytest.raises(DataError, match=r"val_places205\.csv lists no images"):
            open_source(f"places205:{tmp_path}")
        write_list(tmp_path, "val", []).write_bytes(b"\xff\xfe")
        with pytest.raises(DataError, match=r"val_places205\.csv cannot be read"):
            open_source(f"places205:{tmp_path}")
