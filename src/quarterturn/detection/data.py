"""The images of a detection run, with the objects in them."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.data.subsets import limit_images
from quarterturn.data.unreadable import MAX_LISTED
from quarterturn.data.voc_objects import ObjectsOfImages, listed_names, read_objects
from quarterturn.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectionData:
    """Training and test images.

    Attributes:
        source: The opened data.
        train: The training images.
        test: The test images.
        train_objects: What is in the former.
        test_objects: What is in the latter.
        listed: ``train`` and ``test`` to the names of all images that the splits list.
    """

    source: Source
    train: ImageSet
    test: ImageSet
    train_objects: ObjectsOfImages
    test_objects: ObjectsOfImages
    listed: dict[str, list[str]]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The C classes."""
        return tuple(self.train.class_names)

    def labels_fingerprint(self) -> str:
        """A short hash of all boxes and class names."""
        digest = hashlib.sha256("\0".join(self.class_names).encode(errors="surrogateescape"))
        for objects in (self.train_objects, self.test_objects):
            digest.update(objects.fingerprint().encode())
        return digest.hexdigest()[:16]

    def words(self) -> str:
        """How many images and boxes there are."""
        boxes = [
            int(objects.counts(len(self.class_names)).sum())
            for objects in (self.train_objects, self.test_objects)
        ]
        return (
            f"{boxes[0]:,} boxes of {len(self.class_names)} classes in {len(self.train):,} "
            f"training images; {boxes[1]:,} in {len(self.test):,} test images, the split "
            f"{self.source.test_name!r}"
        )


def open_detection_data(
    data: str, settings: DataConfig, *, index: Path | None = None
) -> DetectionData:
    """Open DATA with boxes.

    Args:
        data: ``voc2007:ROOT`` or ``voc:ROOT``.
        settings: Which images to take, and how files are read.
        index: Folder of the header index; see `open_source`.

    Raises:
        DataError: There are no boxes or no test images, or a class has no box to learn from or to
            be tested on.
    """
    source = open_source(data, index=index, verify=settings.verify, **settings.reading)
    if source.test is None:
        raise DataError(f"{data} has no test images: expected the list test.txt or val.txt")
    train, test = (limit_images(each, settings.limit) for each in (source.train, source.test))
    objects = [read_objects(images, data) for images in (train, test)]
    bad_boxes = [box for of_split in objects for box in of_split.bad_boxes]
    if bad_boxes and not source.bad_boxes:  # with class files, annotations are read only here
        logger.info(f"boxes left out or cut: {len(bad_boxes):,}")
        for box in bad_boxes[:MAX_LISTED]:
            logger.info(f"  {box}")
    names = train.class_names
    for split, counts in (
        ("training", objects[0].counts(len(names))),
        ("test", objects[1].counts(len(names), difficult=False)),
    ):
        if missing := [name for name, count in zip(names, counts, strict=True) if not count]:
            what = "box" if split == "training" else "box that is not difficult"
            raise DataError(
                f"{data} has no {what} of {', '.join(missing[:10])} in its {split} images; "
                "expected one or more of each class"
                + (": --limit may leave too few images" if settings.limit else "")
            )
    splits = {"train": "train", "test": source.test_name}
    listed = {name: listed_names(data, split) for name, split in splits.items()}
    return DetectionData(source, train, test, objects[0], objects[1], listed)
