"""The objects in the images of a folder in PASCAL VOC's layout: boxes, classes, difficult or not.

Shapes: g objects in an image. Boxes are (x1, y1, x2, y2) in pixels counted from 0, corners
included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.data_argument import split_name
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.unreadable import list_unreadable
from quarterturn.data.voc import ANNOTATIONS, LISTS, find_voc2007, read_lists
from quarterturn.data.voc_annotations import AnnotationError, read_annotation
from quarterturn.errors import DataError


@dataclass(frozen=True)
class Objects:
    """The objects in one image.

    Attributes:
        boxes: (g, 4) float64.
        classes: (g,) int64 classes, counted from 0.
        difficult: (g,) whether each is difficult.
    """

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    difficult: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)

    def of_class(self, number: int) -> NDArray[np.float64]:
        """(n, 5) boxes of a class, and 1 for those that are difficult, as metrics take them."""
        chosen = self.classes == number
        return np.column_stack([self.boxes[chosen], self.difficult[chosen]])


@dataclass(frozen=True)
class ObjectsOfImages:
    """The objects in several images.

    Attributes:
        images: For each image its objects.
        bad_boxes: Boxes that are left out or cut, with the reason, one line each.
    """

    images: tuple[Objects, ...]
    bad_boxes: tuple[str, ...] = ()

    def counts(self, num_classes: int, *, difficult: bool = True) -> NDArray[np.int64]:
        """(C,) boxes of each class.

        Args:
            num_classes: C.
            difficult: Count difficult ones too.
        """
        found = np.zeros(num_classes, np.int64)
        for objects in self.images:
            counted = objects.classes[difficult | ~objects.difficult]
            found += np.bincount(counted, minlength=num_classes)
        return found

    def fingerprint(self) -> str:
        """A short hash of all boxes."""
        digest = hashlib.sha256()
        for objects in self.images:
            for values in (objects.boxes, objects.classes, objects.difficult):
                digest.update(f"{len(values)} ".encode())
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()[:16]


def read_objects(images: ImageSet, data: str) -> ObjectsOfImages:
    """Read the annotations of images.

    Args:
        images: Of a source in PASCAL VOC's layout.
        data: DATA that they are from, for messages.

    Raises:
        DataError: DATA is in another layout, or an annotation is missing or cannot be read.
    """
    if voc_folder(data) is None or not isinstance(images, FileImages):
        raise DataError(
            f"{data} has no boxes: expected voc2007:ROOT, or voc:ROOT for a folder in the layout "
            "of PASCAL VOC with classes of its own"
        )
    column = {name: number for number, name in enumerate(images.class_names)}
    folder = images.root.parent / ANNOTATIONS
    found, bad_boxes, unusable = [], [], {}
    for name, (height, width) in zip(images.names, images.sizes.tolist(), strict=True):
        try:
            annotation = read_annotation(folder / f"{Path(name).stem}.xml", height, width)
            boxed = [thing for thing in annotation.objects if thing.box is not None]
            if unknown := sorted({thing.name for thing in boxed} - column.keys()):
                raise AnnotationError(
                    f"its annotation has objects of unknown classes: {', '.join(unknown[:5])}"
                )
        except AnnotationError as error:
            unusable[name] = str(error)
            continue
        bad_boxes += [f"{name}: {fault}" for fault in annotation.bad_boxes]
        found.append(
            Objects(
                np.array([thing.box for thing in boxed], np.float64).reshape(-1, 4),
                np.array([column[thing.name] for thing in boxed], np.int64),
                np.array([thing.difficult for thing in boxed], np.bool_),
            )
        )
    if unusable:
        raise DataError(
            f"{len(unusable)} of {len(images)} images of {data} have no annotation that can be "
            "used; expected one for each image that is listed:\n"
            + "\n".join(list_unreadable(unusable))
        )
    return ObjectsOfImages(tuple(found), tuple(bad_boxes))


def listed_names(data: str, split: str) -> list[str]:
    """The names in the list of a split, without suffix: those of images that are missing too.

    Args:
        data: DATA in PASCAL VOC's layout.
        split: ``train``, ``val`` or ``test``, as `quarterturn.data.source.Source` names them.
    """
    folder = voc_folder(data)
    assert folder is not None
    _, names = read_lists(folder / LISTS)[split]
    return names


def voc_folder(data: str) -> Path | None:
    """The folder with ``JPEGImages``; None where DATA is in another layout."""
    named = split_name(data)
    if named is None or named.name not in ("voc2007", "voc"):
        return None
    return find_voc2007(named.root) if named.name == "voc2007" else named.root


def names_of(images: ImageSet) -> Sequence[str]:
    """The names of images without suffix, as lists have them."""
    return [Path(name).stem for name in images.names]
