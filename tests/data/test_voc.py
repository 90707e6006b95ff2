import shutil
from pathlib import Path

import numpy as np
import pytest

from quarterturn.data.sources import open_source
from quarterturn.data.voc import CLASS_NAMES
from quarterturn.errors import DataError

from ..fixtures.voc import write_lists, write_voc_image

BOX = (5, 5, 20, 20)


def open_voc(root, name="voc", **options):
    return open_source(f"{name}:{root}", min_images=1, **options)


def write_class_files(root, lists, flags_of):
    """Class files: ``flags_of(class, image)`` is 1, -1 or 0."""
    for split, names in lists.items():
        for kind in CLASS_NAMES:
            lines = [f"{name} {flags_of(kind, name):2d}" for name in names]
            write_lists(root, {f"{kind}_{split}": lines})


@pytest.fixture
def voc2007(tmp_path):
    """Four images of trainval and two of test, with the class files of all 20 classes."""
    root = tmp_path / "VOCdevkit" / "VOC2007"
    lists = {"trainval": ["000001", "000002", "000003", "000004"], "test": ["000005", "000006"]}
    for name in [*lists["trainval"], *lists["test"]]:
        write_voc_image(root, name, [("dog", BOX)])
    write_lists(root, lists)
    flags = {("cat", "000001"): 1, ("dog", "000001"): 1, ("cat", "000002"): 0}
    write_class_files(root, lists, lambda kind, name: flags.get((kind, name), -1))
    return root


def test_labels_of_annotations_and_splits(voc_tree):
    source = open_voc(voc_tree)
    assert (len(source.train), len(source.test), source.test_name) == (48, 24, "test")
    assert source.train.class_names == source.test.class_names == ["blue", "green", "red"]
    assert source.train.labels is None
    for images in (source.train, source.test):
        assert set(np.unique(images.label_sets)) == {0, 1}
        for index in range(len(images)):
            shown = np.asarray(images.read(index), dtype=int)
            for c, name in enumerate(images.class_names):
                channel = {"red": 0, "green": 1, "blue": 2}[name]
                is_there = (shown[..., channel] > 190).sum() > 60
                assert images.label_sets[index, c] == is_there, (index, name)


def test_class_files_give_three_values(voc2007):
    for root in (voc2007, voc2007.parent, voc2007.parent.parent):
        source = open_voc(root, "voc2007")
        assert source.train.class_names == list(CLASS_NAMES)
        cats, dogs = (source.train.label_sets[:, CLASS_NAMES.index(c)] for c in ("cat", "dog"))
        assert cats.tolist() == [1, -1, 0, 0]
        assert dogs.tolist() == [1, 0, 0, 0]
        assert source.train.label_sets.sum() == 1
        assert source.test.label_sets.shape == (2, 20)
        assert not source.test.label_sets.any()
    own = open_voc(voc2007)
    assert own.train.class_names == sorted(CLASS_NAMES)


@pytest.mark.parametrize("missing", ["cat_trainval.txt", "tvmonitor_test.txt"])
def test_a_missing_class_file_is_named(voc2007, missing):
    (voc2007 / "ImageSets" / "Main" / missing).unlink()
    with pytest.raises(DataError, match=f"lacks 1 of 40 class files, such as {missing}"):
        open_voc(voc2007, "voc2007")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("000001 2", "'000001 2' as entry 1; expected the name of an image, once, and 1, -1 or 0"),
        ("000001", "'000001' as entry 1"),
        ("000009  1", r"no entry for 4 of the 4 images of trainval.txt, such as 000001"),
        ("", "cat_trainval.txt lists no images"),
    ],
)
def test_a_malformed_class_file_is_quoted(voc2007, line, message):
    (voc2007 / "ImageSets" / "Main" / "cat_trainval.txt").write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        open_voc(voc2007, "voc2007")


def write_images(root: Path, objects_of: dict[str, list], split: str = "trainval") -> Path:
    for name, objects in objects_of.items():
        write_voc_image(root, name, objects)
    write_lists(root, {split: list(objects_of)})
    return root


def test_difficult_objects_are_ignored_unless_a_plain_one_is_there(tmp_path):
    root = write_images(
        tmp_path,
        {
            "plain": [("cat", BOX)],
            "difficult": [("cat?", BOX)],
            "both": [("cat?", BOX), ("cat", BOX), ("cat?", BOX)],
            "neither": [],
        },
    )
    assert open_voc(root).train.label_sets[:, 0].tolist() == [1, -1, 1, 0]


def test_unusable_boxes_are_listed_and_give_no_label(tmp_path):
    boxes = {
        "empty": (5, 5, 5, 5),
        "thin": (5, 5, 9, 5),
        "reversed": (20, 5, 10, 15),
        "outside": (60, 5, 70, 15),
        "beyond": (40, 30, 70, 60),
    }
    root = write_images(tmp_path, {name: [("cat", box)] for name, box in boxes.items()})
    source = open_voc(root)
    # Not a cat for certain, and not certainly none; the part in the image is enough.
    assert source.train.label_sets[:, 0].tolist() == [-1, -1, -1, -1, 1]
    summary = source.summary()
    start = summary.index("boxes left out or cut: 5")
    assert summary[start + 1 :] == [
        "  empty.jpg: cat at 5, 5, 5, 5: without area, left out",
        "  thin.jpg: cat at 5, 5, 9, 5: without area, left out",
        "  reversed.jpg: cat at 20, 5, 10, 15: reversed, left out",
        "  outside.jpg: cat at 60, 5, 70, 15: outside the image of 48x36 px, left out",
        "  beyond.jpg: cat at 40, 30, 70, 60: cut at the edge of the image of 48x36 px",
    ]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (None, "no annotation b.xml in Annotations"),
        ("<annotation><object>", "its annotation b.xml cannot be read: "),
        ("<a><object><name/></object></a>", "object 1 of its annotation b.xml has no name"),
        ("<a><object><name>cat</name></object></a>", "object 1 .* has None for xmin"),
        (
            "<a><object><name>cat</name><bndbox><xmin>nan</xmin></bndbox></object></a>",
            "has 'nan' for xmin; expected a number",
        ),
        ("<a><size><width>36</width><height>48</height></size></a>", "of 36x48 px, .* has 48x36"),
    ],
)
def test_an_image_without_a_usable_annotation_is_listed(tmp_path, annotation, reason):
    root = write_images(tmp_path, {name: [("cat", BOX)] for name in "abc"})
    file = root / "Annotations" / "b.xml"
    file.unlink() if annotation is None else file.write_text(annotation)
    source = open_voc(root, max_bad_fraction=0.5)
    assert source.train.names == ["a.jpg", "c.jpg"]
    assert len(source.train.label_sets) == 2
    assert list(source.unreadable) == ["b.jpg"]
    with pytest.raises(DataError, match=reason):
        open_voc(root)


def test_lists_are_taken_as_found(tmp_path):
    names = [f"{i}" for i in range(6)]
    for name in names:
        write_voc_image(tmp_path, name, [("cat", BOX)])
    write_lists(tmp_path, {"train": names[:3], "val": names[3:5], "test": names[5:]})
    source = open_voc(tmp_path)
    splits = {name: list(images.names) for name, images in source.all_splits.items()}
    assert splits == {
        "train": ["0.jpg", "1.jpg", "2.jpg"],
        "test": ["5.jpg"],
        "val": ["3.jpg", "4.jpg"],
    }
    write_lists(tmp_path, {"trainval": names[:5]})
    assert len(open_voc(tmp_path).train) == 5
    (tmp_path / "ImageSets/Main/test.txt").unlink()
    assert (len(open_voc(tmp_path).train), open_voc(tmp_path).test_name) == (3, "val")


def test_images_may_have_other_suffixes(tmp_path):
    root = write_images(tmp_path, {"a": [("cat", BOX)], "b": [("dog", BOX)]})
    (root / "JPEGImages" / "b.jpg").rename(root / "JPEGImages" / "b.jpeg")
    assert open_voc(root).train.names == ["a.jpg", "b.jpeg"]
    (root / "JPEGImages" / "a.jpg").unlink()
    assert "a.jpg: no such file" in "\n".join(open_voc(root, max_bad_fraction=1).summary())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: shutil.rmtree(root / "ImageSets"), "has no folder ImageSets/Main: expected"),
        (lambda root: shutil.rmtree(root / "JPEGImages"), "has no folder JPEGImages"),
        (lambda root: (root / "ImageSets/Main/trainval.txt").unlink(), "has no list of images"),
        (lambda root: write_lists(root, {"trainval": []}), "trainval.txt lists no images"),
        (
            lambda root: write_lists(root, {"test": ["a"]}),
            "lists a twice, in trainval.txt and in test",
        ),
        (lambda root: write_lists(root, {"trainval": ["a", "a"]}), "lists a twice"),
        (
            lambda root: (root / "ImageSets/Main/trainval.txt").write_bytes(b"\xff\xfe\x00"),
            "trainval.txt cannot be read",
        ),
    ],
)
def test_a_broken_tree_is_a_clear_error(tmp_path, spoil, message):
    root = write_images(tmp_path, {"a": [("cat", BOX)], "b": [("dog", BOX)]})
    spoil(root)
    with pytest.raises(DataError, match=message):
        open_voc(root)


def test_sizes_that_are_not_known_are_the_annotations(tmp_path, monkeypatch):
    boxes = {"outside": (60, 5, 70, 15), "inside": (5, 5, 20, 20), "beyond": (40, 30, 70, 60)}
    root = write_images(tmp_path, {name: [("cat", box)] for name, box in boxes.items()})
    monkeypatch.setattr("quarterturn.data.header_index.NUM_CHECKED", 0)
    source = open_voc(root)
    assert not source.train.sizes.any()
    assert source.train.label_sets[:, 0].tolist() == [-1, 1, 1]
    assert len(source.bad_boxes) == 2


def test_own_classes_are_not_those_of_voc2007(tmp_path):
    root = write_images(tmp_path, {"a": [("platelet", BOX)]})
    with pytest.raises(DataError, match="has not: platelet; open folders"):
        open_voc(root, "voc2007")
