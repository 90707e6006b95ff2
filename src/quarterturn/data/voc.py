"""PASCAL VOC: VOC2007 (Everingham et al., IJCV 2010), and folders in its layout.

The layout::

    ROOT/ImageSets/Main/{trainval,test}.txt             names of images, one per line
    ROOT/ImageSets/Main/{aeroplane,...}_trainval.txt    name and 1, -1, or 0 for "difficult"
    ROOT/Annotations/000005.xml
    ROOT/JPEGImages/000005.jpg

An image has several labels. They come from the class files; where there are none, from the
annotations: a class is in an image with an object of it, does not count where all of its objects
are difficult or have no usable box, and else is absent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.indexed_files import IndexedFiles, index_files
from quarterturn.data.label_sets import ABSENT, IGNORED, PRESENT, LabelSets
from quarterturn.data.voc_annotations import Annotation, AnnotationError, read_annotation
from quarterturn.errors import DataError

LISTS = Path("ImageSets/Main")
IMAGES, ANNOTATIONS = "JPEGImages", "Annotations"
VOC2007 = Path("VOC2007")
PLACES = (Path(), VOC2007, "VOCdevkit" / VOC2007)
"""Where ROOT may have VOC2007."""
CLASS_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
FLAGS = {"1": PRESENT, "-1": ABSENT, "0": IGNORED}
"""What a class file says of an image."""


def index_voc2007(root: Path, index: HeaderIndex) -> dict[str, IndexedFiles]:
    """VOC2007, whose 20 classes are known; see `index_voc`.

    Args:
        root: The folder with ``JPEGImages``, or one that has it in ``VOC2007`` or
            ``VOCdevkit/VOC2007``.
        index: The index of headers.
    """
    return _index(find_voc2007(root), index, CLASS_NAMES)


def find_voc2007(root: Path) -> Path:
    """The folder with ``JPEGImages`` of VOC2007, for `index_voc2007`."""
    return next((root / place for place in PLACES if (root / place / LISTS).is_dir()), root)


def index_voc(root: Path, index: HeaderIndex) -> dict[str, IndexedFiles]:
    """The splits of a folder in the layout of VOC: trainval and test, or train, val and test.

    Args:
        root: The folder with ``JPEGImages``.
        index: The index of headers.

    Raises:
        DataError: A folder or a list is missing or malformed, lists share images, or classes lack
            files that others have.
    """
    return _index(root, index, None)


def _index(
    root: Path, index: HeaderIndex, known_classes: Sequence[str] | None
) -> dict[str, IndexedFiles]:
    for folder in (LISTS, Path(IMAGES)):
        if not (root / folder).is_dir():
            raise DataError(
                f"{root} has no folder {folder}: expected the layout of PASCAL VOC, with "
                f"{LISTS}/trainval.txt, {IMAGES} and {ANNOTATIONS}"
            )
    lists = read_lists(root / LISTS)
    files = {name.rpartition(".")[0]: name for name in sorted(os.listdir(root / IMAGES))}
    splits = {
        split: _index_listed(root / IMAGES, names, files, index)
        for split, (_, names) in lists.items()
    }
    class_names = known_classes or _classes_with_files(root / LISTS, lists["train"][0])
    if _has_class_files(root / LISTS, lists, class_names):
        return {
            split: _labelled_by_files(splits[split], root / LISTS, stem, names, class_names)
            for split, (stem, names) in lists.items()
        }
    return _labelled_by_annotations(splits, root / ANNOTATIONS, known_classes)


def _index_listed(
    folder: Path, names: Sequence[str], files: Mapping[str, str], index: HeaderIndex
) -> IndexedFiles:
    """The listed images that are there; the others count as unreadable."""
    found = index_files(folder, [files[name] for name in names if name in files], index)
    missing = {f"{name}.jpg": "no such file" for name in names if name not in files}
    return replace(found, unreadable=found.unreadable | missing)


def read_lists(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Split to the stem of its list and the names of its images, without suffix.

    Args:
        folder: ``ImageSets/Main``.

    Raises:
        DataError: There is no list, or lists share an image.
    """
    stems = {"train": "trainval", "test": "test"}
    if not all((folder / f"{stem}.txt").exists() for stem in stems.values()):
        stems = {stem: stem for stem in ("train", "val", "test")}
        if not (folder / "train.txt").exists():
            stems = {"train": "trainval"}
    stems = {split: stem for split, stem in stems.items() if (folder / f"{stem}.txt").exists()}
    if not stems:
        raise DataError(
            f"{folder} has no list of images: expected trainval.txt and test.txt, or train.txt, "
            "val.txt and test.txt"
        )
    lists = {split: (stem, _lines(folder / f"{stem}.txt")) for split, stem in stems.items()}
    split_of: dict[str, str] = {}
    for split, (stem, names) in lists.items():
        for name in names:
            if name in split_of:
                other = lists[split_of[name]][0]
                raise DataError(
                    f"{folder} lists {name} twice, in {other}.txt and in {stem}.txt; expected "
                    "every image in one split, once"
                )
            split_of[name] = split
    return lists


def _lines(file: Path) -> list[str]:
    """The lines of a list that are not blank.

    Raises:
        DataError: It cannot be read, or is empty.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        raise DataError(f"no file {file.name} in {file.parent}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if not any(lines):
        raise DataError(f"{file} lists no images")
    return [line for line in lines if line]


def _classes_with_files(folder: Path, stem: str) -> list[str]:
    names = (name.removesuffix(".txt") for name in os.listdir(folder) if name.endswith(".txt"))
    return sorted(name.removesuffix(f"_{stem}") for name in names if name.endswith(f"_{stem}"))


def _has_class_files(
    folder: Path, lists: Mapping[str, tuple[str, list[str]]], class_names: Sequence[str]
) -> bool:
    """Whether labels come from class files; if from some, then all must be there."""
    files = [folder / f"{name}_{stem}.txt" for stem, _ in lists.values() for name in class_names]
    missing = [file.name for file in files if not file.exists()]
    if missing and len(missing) < len(files):
        raise DataError(
            f"{folder} lacks {len(missing)} of {len(files)} class files, such as {missing[0]}: "
            "expected one for each class and split, or none, so that labels come from the "
            "annotations"
        )
    return bool(files) and not missing


def _labelled_by_files(
    files: IndexedFiles, folder: Path, stem: str, names: list[str], class_names: Sequence[str]
) -> IndexedFiles:
    columns = [_read_flags(folder / f"{name}_{stem}.txt", stem, names) for name in class_names]
    stems = [name.rpartition(".")[0] for name in files.images.names]
    rows = [[flags[image] for flags in columns] for image in stems]
    label_sets = np.array(rows, np.int8).reshape(len(rows), len(columns))
    images = replace(files.images, label_sets=label_sets, class_names=list(class_names))
    return replace(files, images=images)


def _read_flags(file: Path, stem: str, names: list[str]) -> dict[str, int]:
    """What a class file says of each image."""
    flags: dict[str, int] = {}
    for number, line in enumerate(_lines(file), 1):
        name, _, flag = line.rpartition(" ")
        name = name.strip()
        if flag not in FLAGS or not name or name in flags:
            raise DataError(
                f"{file} has {line!r} as entry {number}; expected the name of an image, once, and "
                "1, -1 or 0"
            )
        flags[name] = FLAGS[flag]
    if missing := [name for name in names if name not in flags]:
        raise DataError(
            f"{file} has no entry for {len(missing)} of the {len(names)} images of {stem}.txt, "
            f"such as {missing[0]}"
        )
    return flags


def _labelled_by_annotations(
    splits: Mapping[str, IndexedFiles], folder: Path, known_classes: Sequence[str] | None
) -> dict[str, IndexedFiles]:
    read = {split: _read_annotations(files, folder) for split, files in splits.items()}
    found = {
        thing.name
        for _, annotations in read.values()
        for annotation in annotations
        for thing in annotation.objects
    }
    if known_classes is not None and (others := sorted(found - {*known_classes})):
        raise DataError(
            f"{folder} has objects of classes that VOC2007 has not: {', '.join(others[:10])}; "
            "open folders with classes of their own as voc:ROOT"
        )
    class_names = sorted(found) if known_classes is None else list(known_classes)
    if not class_names:
        raise DataError(f"{folder} has no objects in the annotations of any image")
    return {
        split: replace(
            files,
            images=replace(
                files.images,
                label_sets=_label_sets(annotations, class_names),
                class_names=class_names,
            ),
        )
        for split, (files, annotations) in read.items()
    }


def _read_annotations(files: IndexedFiles, folder: Path) -> tuple[IndexedFiles, list[Annotation]]:
    """The annotations of a split, and its images that have one; the others count as unreadable."""
    annotations, bad_boxes, unreadable = [], list[str](), dict(files.unreadable)
    kept = []
    for number, (name, (height, width)) in enumerate(
        zip(files.images.names, files.images.sizes.tolist(), strict=True)
    ):
        try:
            file = folder / f"{name.rpartition('.')[0]}.xml"
            annotation = read_annotation(file, height, width)
        except AnnotationError as error:
            unreadable[name] = str(error)
            continue
        kept.append(number)
        annotations.append(annotation)
        bad_boxes += [f"{name}: {fault}" for fault in annotation.bad_boxes]
    images = files.images.subset(np.array(kept, np.int64))
    return replace(files, images=images, unreadable=unreadable, bad_boxes=bad_boxes), annotations


def _label_sets(annotations: Sequence[Annotation], class_names: Sequence[str]) -> LabelSets:
    column = {name: c for c, name in enumerate(class_names)}
    found = np.full((len(annotations), len(column)), ABSENT, np.int8)
    for row, annotation in zip(found, annotations, strict=True):
        for thing in annotation.objects:
            counts = thing.box is not None and not thing.difficult
            if counts or row[column[thing.name]] == ABSENT:
                row[column[thing.name]] = PRESENT if counts else IGNORED
    return found
