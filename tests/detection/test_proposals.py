import numpy as np
import pytest
from scipy.io import savemat

from quarterturn import ConfigError, DataError, detect
from quarterturn.data.sources import open_source
from quarterturn.detection.proposals import (
    Proposals,
    check_proposals,
    kept_proposals,
    read_proposals,
    write_proposals,
)
from quarterturn.errors import CheckpointError

LISTED = {"train": ["a", "b", "c"], "test": ["d", "e"]}


def cells(values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


def write_mat(file, boxes, images=None):
    names = {} if images is None else {"images": cells(images)}
    savemat(file, {"boxes": cells(boxes), **names})
    return file


@pytest.fixture
def mats(tmp_path):
    """The layout of the released files: rows (y1, x1, y2, x2) counted from 1."""
    train = [
        np.array([[2.0, 1, 12, 21]]),
        np.array([[1.0, 1, 5, 6], [3, 4, 8, 9]]),
        np.ones((1, 4)),
    ]
    return (
        write_mat(tmp_path / "train.mat", [np.array(boxes) for boxes in train], ["a", "b", "c"]),
        write_mat(tmp_path / "test.mat", [np.ones((1, 4)), np.ones((2, 4))]),
    )


def test_mat_files_are_turned_to_x_first_from_zero(mats):
    found = read_proposals(*mats, LISTED)
    assert found["train"].names == ("a", "b", "c")
    assert found["train"].boxes[0].tolist() == [[0, 1, 20, 11]]
    assert found["train"].boxes[1].tolist() == [[0, 0, 5, 4], [3, 2, 8, 7]]
    assert [len(boxes) for boxes in found["test"].boxes] == [1, 2]
    assert found["test"].names == ("d", "e")  # without names of its own: those of the split


def test_both_splits_survive_a_file(mats, tmp_path):
    found = read_proposals(*mats, LISTED)
    write_proposals(tmp_path / "both.npz", found)
    again = read_proposals(tmp_path / "both.npz", None, LISTED)
    for split in LISTED:
        assert again[split].fingerprint() == found[split].fingerprint()
    assert again["train"].fingerprint() != again["test"].fingerprint()


def test_another_length_is_refused(mats):
    listed = LISTED | {"test": ["d", "e", "f"]}
    with pytest.raises(DataError, match=r"test.mat has the proposals of 2 images, .* lists 3"):
        read_proposals(*mats, listed)


def test_another_order_is_refused(mats):
    listed = LISTED | {"train": ["a", "c", "b"]}
    message = "in another order: image 2 is b, and the split lists c; expected the order"
    with pytest.raises(DataError, match=message):
        read_proposals(*mats, listed)
    with pytest.raises(DataError, match="of other images: image 3 is c, and the split lists x"):
        read_proposals(*mats, LISTED | {"train": ["a", "b", "x"]})


def test_files_that_do_not_go_together_are_refused(mats, tmp_path):
    train, test = mats
    with pytest.raises(ConfigError, match="give those of the test images as --test-proposals"):
        read_proposals(train, None, LISTED)
    write_proposals(tmp_path / "both.npz", read_proposals(train, test, LISTED))
    with pytest.raises(ConfigError, match=r"those of both splits: leave --test-proposals"):
        read_proposals(tmp_path / "both.npz", test, LISTED)
    (tmp_path / "x.txt").touch()
    with pytest.raises(
        ConfigError, match=r"expected a .npz file, a .mat file, or selective-search"
    ):
        read_proposals(tmp_path / "x.txt", None, LISTED)
    with pytest.raises(DataError, match=r"there is no file .*missing.npz"):
        read_proposals(tmp_path / "missing.npz", None, LISTED)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"boxes": np.zeros((2, 4))}, "has the arrays boxes; expected train_names"),
        (
            {"train_names": np.array(["a"]), "train_counts": [3], "train_boxes": np.zeros((2, 4))},
            r"train_names \(1,\), train_counts \(1,\) and train_boxes \(2, 4\) do not fit",
        ),
    ],
)
def test_another_npz_file_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_proposals(tmp_path / "x.npz", None, LISTED)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"windows": np.ones(3)}, "has windows; expected a cell array boxes"),
        ({"boxes": np.ones((3, 4))}, "boxes is an array of .*; expected a cell array"),
        (
            {"boxes": cells([np.ones((2, 5))] * 3)},
            r"cell 1 of boxes is \(2, 5\)",
        ),
    ],
)
def test_another_mat_file_is_refused(mats, tmp_path, contents, message):
    savemat(tmp_path / "other.mat", contents)
    with pytest.raises(DataError, match=message):
        read_proposals(tmp_path / "other.mat", mats[1], LISTED)


def test_a_damaged_mat_file_is_refused(mats, tmp_path):
    (tmp_path / "cut.mat").write_bytes(mats[0].read_bytes()[:150])
    with pytest.raises(DataError, match=r"cut.mat cannot be read as a .mat file"):
        read_proposals(tmp_path / "cut.mat", mats[1], LISTED)


@pytest.fixture
def images(boxed_tree):
    """24 images of 48 x 36 px."""
    return open_source(f"voc:{boxed_tree}").train


def proposals_of(images, box=(0, 0, 47, 35)):
    names = tuple(name.removesuffix(".jpg") for name in images.names)
    return Proposals(names, tuple(np.array([box], np.float32) for _ in names))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1, 1, np.nan, 5), r"proposal 1 of 000000 is \(1, 1, nan, 5\) .*; expected numbers"),
        ((9, 1, 5, 5), "expected x1 <= x2 and y1 <= y2"),
        ((1, 1, 48, 5), "outside the image of 48x36 px: the file may be of other images, in ano"),
        ((-1, 1, 4, 5), "outside the image"),
    ],
)
def test_boxes_that_cannot_be_are_quoted(images, box, message):
    check_proposals(proposals_of(images), images, "file")
    with pytest.raises(DataError, match=message):
        check_proposals(proposals_of(images, box), images, "file")


def test_an_image_without_proposals_is_named(images):
    whole = proposals_of(images)
    none = Proposals(whole.names, (np.zeros((0, 4), np.float32), *whole.boxes[1:]))
    with pytest.raises(
        DataError, match="file: no proposals of 1 image, such as 000000; expected one"
    ):
        check_proposals(none, images, "file")


def test_those_of_a_limited_set_are_found_by_name(images):
    chosen = images.subset(np.array([5, 2]))
    assert proposals_of(images).of(chosen).names == ("000005", "000002")
    with pytest.raises(DataError, match="no proposals of 1 image, such as 000005"):
        proposals_of(images.subset(np.array([2]))).of(chosen)


def test_proposals_of_other_images_are_held_against_the_whole_split(images, tmp_path):
    mine = proposals_of(images)
    others = Proposals((*mine.names[:20], "a", "b"), mine.boxes[:22])
    some = Proposals(mine.names[3:9], mine.boxes[3:9])
    listed = {"train": list(mine.names), "test": list(mine.names)}
    write_proposals(tmp_path / "x.npz", {"train": some, "test": others})
    with pytest.raises(
        DataError, match=r"split test has the proposals of 22 images, and .* lists 24"
    ):
        read_proposals(tmp_path / "x.npz", None, listed)
    write_proposals(tmp_path / "y.npz", {"train": some, "test": some})
    assert read_proposals(tmp_path / "y.npz", None, listed)["test"].names == some.names


def test_nothing_is_made_before_proposals_are_checked(boxed_tree, proposals_file, tmp_path):
    found = read_proposals(
        proposals_file,
        None,
        {
            split: [f"{i:06d}" for i in numbers]
            for split, numbers in (("train", range(24)), ("test", range(24, 36)))
        },
    )
    train = found["train"]
    found["train"] = Proposals(train.names[::-1], train.boxes[::-1])
    write_proposals(tmp_path / "reversed.npz", found)
    out = tmp_path / "run"
    with pytest.raises(DataError, match="image 1 is 000023, and the split lists 000000"):
        detect(f"voc:{boxed_tree}", proposals=str(tmp_path / "reversed.npz"), out=out)
    assert not out.exists()


def test_damaged_proposals_of_a_run_are_named(tmp_path, mats):
    with pytest.raises(FileNotFoundError):
        kept_proposals(tmp_path)
    write_proposals(tmp_path / "proposals.npz", read_proposals(*mats, LISTED))
    data = bytearray((tmp_path / "proposals.npz").read_bytes())
    data[len(data) // 3] ^= 0xFF
    (tmp_path / "proposals.npz").write_bytes(data)
    with pytest.raises(CheckpointError, match="put back what was there"):
        kept_proposals(tmp_path)
