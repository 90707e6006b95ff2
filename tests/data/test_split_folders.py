"""Sub-folders that are splits, under the names that people and tools give them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quarterturn.data.labelled import open_labelled
from quarterturn.data.sources import open_source
from quarterturn.data.split_folders import NAMES, split_of
from quarterturn.errors import DataError

from .pictures import save_photo


def class_folders(root: Path, first: int = 0, count: int = 5) -> Path:
    for seed, name in enumerate(("cat", "dog")):
        for i in range(first, first + count):
            save_photo(root / name / f"{i:03d}.png", 100 * seed + i, 12, 16)
    return root


@pytest.mark.parametrize(
    ("folders", "used", "unused"),
    [
        (["train", "valid"], "val", []),
        (["Train", "Test"], "test", []),
        (["training", "validation"], "val", []),
        (["TRAINING", "Dev", "testing"], "test", ["val"]),
        (["train", "valid", "test"], "test", ["val"]),
    ],
)
def test_classes_come_from_inside_the_splits(tmp_path, folders, used, unused):
    for number, folder in enumerate(folders):
        class_folders(tmp_path / folder, 10 * number)
    source = open_source(str(tmp_path))
    assert (len(source.train), source.train.class_names) == (10, ["cat", "dog"])
    assert (source.test_name, len(source.test), list(source.unused)) == (used, 10, unused)
    assert source.test.class_names == ["cat", "dog"]
    lines = source.summary()
    for split in unused:
        assert f"10 images in the split '{split}', which is not used" in lines


@pytest.mark.parametrize("folder", ["train", "Test", "valid"])
def test_one_split_alone_has_classes_inside(tmp_path, folder):
    class_folders(tmp_path / folder)
    images = open_source(str(tmp_path)).train
    assert images.class_names == ["cat", "dog"]
    assert images.labels.tolist() == [0] * 5 + [1] * 5
    assert images.names[0] == f"{folder}/cat/000.png"


@pytest.mark.parametrize("folders", [["val", "test"], ["Valid", "dev"], ["test", "testing"]])
def test_splits_without_train_are_no_classes(tmp_path, folders):
    for number, folder in enumerate(folders):
        class_folders(tmp_path / folder, 10 * number)
    assert len(open_source(str(tmp_path)).train) == 20
    with pytest.raises(DataError, match="named as splits, not as classes; expected 'train'"):
        open_labelled(str(tmp_path))


def test_labels_that_are_splits_are_refused(tmp_path):
    rows = [
        f"{save_photo(tmp_path / f'{i}.png', i).name},{('train', 'test')[i % 2]}" for i in range(10)
    ]
    (tmp_path / "list.csv").write_text("path,label\n" + "\n".join(rows))
    with pytest.raises(DataError, match="'test', 'train', which are names of splits"):
        open_labelled(str(tmp_path / "list.csv"))


def test_a_class_named_train_is_a_class(tmp_path):
    for name in ("train", "plane", "car"):
        for i in range(4):
            save_photo(tmp_path / name / f"{i}.png", i, 12, 16)
    source = open_source(str(tmp_path))
    assert source.train.class_names == ["car", "plane", "train"]
    assert source.test is None


def test_images_beside_the_splits_are_reported(tmp_path):
    for number, folder in enumerate(["train", "test", "validation", "val", "extra"]):
        class_folders(tmp_path / folder, 10 * number)
    (tmp_path / "empty").mkdir()
    save_photo(tmp_path / "loose.png", 1)
    source = open_source(str(tmp_path))
    assert source.unused["val"].root == tmp_path / "val"
    assert (
        "images beside the splits, which are not used: 10 in extra/, 10 in validation/, "
        "1 in no folder" in source.summary()
    )


def test_two_folders_for_one_split_are_refused(tmp_path):
    for number, folder in enumerate(["train", "Valid", "dev"]):
        class_folders(tmp_path / folder, 10 * number)
    with pytest.raises(DataError, match="'Valid', 'dev', which all mean the split 'val'; rename"):
        open_source(str(tmp_path))


def test_a_link_to_itself_is_one_bad_file(tmp_path):
    class_folders(tmp_path, count=12)
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "cat" / "round.png").symlink_to(tmp_path / "cat" / "round.png")
    source = open_source(str(tmp_path))
    assert len(source.train) == 24
    assert source.unreadable == {"cat/round.png": "Too many levels of symbolic links"}


@given(st.sampled_from(sorted(NAMES)), st.data())
def test_names_mean_their_split_in_any_case(split, data):
    name = data.draw(st.sampled_from(NAMES[split]))
    cases = data.draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    mixed = "".join(c.upper() if up else c for c, up in zip(name, cases, strict=True))
    assert split_of(mixed) == split
    assert split_of(mixed + "s") is None
