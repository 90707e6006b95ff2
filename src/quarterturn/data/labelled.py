"""Labelled images for training and testing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.config.shared import MAX_PIXELS
from quarterturn.data.class_matching import (
    keep_known_classes,
    match_classes,
    unknown_classes,
    untrained_classes,
)
from quarterturn.data.data_argument import locate
from quarterturn.data.imageset import ImageSet
from quarterturn.data.label_sets import random_split
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.data.split_folders import are_split_names
from quarterturn.data.subsets import (
    cut_long_tail,
    limit_images,
    long_tail_numbers,
    stratified_split,
)
from quarterturn.errors import ConfigError, DataError

TEST_FRACTION = 0.2
"""Share of each class to hold out where the data has no test split."""


@dataclass(frozen=True)
class LabelledData:
    """Labelled images with a test split, or to be split by seed.

    Attributes:
        train: The training images; also those held out for testing if there is no test split.
        test: The test split under the class numbers of ``train``, or None.
        description: A phrase on where the test images come from.
        source: The source of the training images.
        test_fraction: Share of each class to hold out if there is no test split.
        long_tail: Factor and kind of the long tail to cut the training images to once the test
            images are held out; None if ``train`` needs no cut.
        sources: All sources that were opened.
    """

    train: ImageSet
    test: ImageSet | None
    description: str
    source: Source
    test_fraction: float = TEST_FRACTION
    long_tail: tuple[float, str] | None = None
    sources: tuple[Source, ...] = ()

    def labels_fingerprint(self) -> str:
        """A short hash of all labels and class names: the same images may pose several tasks."""
        digest = hashlib.sha256("\0".join(self.train.class_names).encode(errors="surrogateescape"))
        for part in (self.train, self.tests):
            digest.update(np.ascontiguousarray(part.targets).data)
        return digest.hexdigest()[:16]

    @property
    def has_several_labels(self) -> bool:
        """Whether images have several labels each; see `quarterturn.data.label_sets`."""
        return self.train.label_sets is not None

    @property
    def tests(self) -> ImageSet:
        """The images from which test images are taken."""
        return self.train if self.test is None else self.test

    def parts(self, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the training images in ``train`` and of the test images in `tests`.

        Args:
            seed: Fixes which images are held out if there is no test split.

        Raises:
            DataError: There are too few images to hold any out, or to cut a long tail from the
                rest.
            ConfigError: ``test_fraction`` is 0.
        """
        if self.test is not None:
            return np.arange(len(self.train)), np.arange(len(self.test))
        if self.test_fraction == 0:
            raise ConfigError(
                "--holdout is 0, and this data has no test split; expected a fraction above 0, to "
                "have images to test on"
            )
        if self.has_several_labels:
            train, test = random_split(len(self.train), self.test_fraction, seed)
        else:
            assert self.train.labels is not None
            train, test = stratified_split(self.train.labels, self.test_fraction, seed)
        if len(test) == 0:
            raise DataError(
                f"{len(self.train)} images are too few to hold out {self.test_fraction:.0%} of "
                "each class; give data with a test split"
            )
        if self.long_tail is not None:
            cut, _ = long_tail_numbers(self.train.subset(train), *self.long_tail)
            train = train[cut]
        return train, test


def open_labelled(
    data: str,
    test: str | None = None,
    *,
    train: str | None = None,
    long_tail: float | None = None,
    long_tail_kind: str = "exponential",
    limit: int | None = None,
    test_fraction: float = TEST_FRACTION,
    max_bad_fraction: float = 0.05,
    max_pixels: int = MAX_PIXELS,
    white: int | None = None,
    verify: bool = False,
    empty_classes: bool = False,
    leave_out_unknown: bool = False,
    several_labels: bool = False,
    download: bool = False,
    index: Path | None = None,
) -> LabelledData:
    """Open labelled images, and decide where the test images come from.

    Args:
        data: DATA with labels. Without a test split, a stratified part is held out. Rows of a
            manifest without a label are left out.
        test: Other DATA to test on.
        train: Other DATA to train on. The test images are then the test split of ``data``, or all
            of ``data`` if it has none.
        long_tail: Cut the training images, never the test images, to a long tail; see
            `cut_long_tail`. With a test split, the cut comes before the limit; else after it, once
            the test images are held out.
        long_tail_kind: ``exponential`` or ``step``.
        limit: Largest number of images of each part.
        test_fraction: Share of each class to hold out if there is no test split.
        max_bad_fraction: Largest share of image files that may be unreadable.
        max_pixels: Larger images are refused.
        white: White point of 16-bit files; see `open_source`.
        verify: Decode every file in full, not only its header.
        empty_classes: Accept test images of a class without training images.
        leave_out_unknown: Leave out test images whose class name no training class has, such as
            that of a missing folder.
        several_labels: Accept images with several labels each.
        download: Fetch a named data set that is missing.
        index: Folder of the header index; see `open_source`.

    Raises:
        DataError: There are no labels, or several where each image should have one; only one
            class, test classes without training images, or images in both the training and the
            test part.
        ConfigError: Both ``train`` and ``test`` are given.
    """
    if train is not None and test is not None:
        raise ConfigError("give --train or --test, not both: with both, DATA itself is not used")
    options: dict[str, Any] = {
        "max_bad_fraction": max_bad_fraction,
        "max_pixels": max_pixels,
        "white": white,
        "verify": verify,
        "download": download,
        "index": index,
    }
    test_source = source = open_source(data, **options)
    tests, description = source.labelled_test, f"the split {source.test_name!r}"
    training_data = data
    if train is not None:
        tests = source.labelled_train if tests is None else tests
        description = f"{description} of {data}" if source.test_name else data
        source, training_data = open_source(train, **options), train
    if test is not None:
        test_source = open_source(test, **options)
        tests, description = test_source.labelled_train, test
    whole, notes, cut_later = source.labelled_train, "", None
    if long_tail is not None:
        if tests is None:
            cut_later = (long_tail, long_tail_kind)
        else:
            whole, _ = cut_long_tail(whole, long_tail, long_tail_kind)
        notes = f"; training images cut to a long tail ({long_tail_kind}, {long_tail:g})"
    images = limit_images(whole, limit)
    _require_labels(images, training_data, several_labels=several_labels)
    if tests is None:
        drawn = "random" if images.label_sets is not None else "stratified"
        description = f"a {drawn} {test_fraction:.0%} held out by seed"
    else:
        _require_labels(tests, description, several_labels=several_labels)
        if (images.label_sets is None) != (tests.label_sets is None):
            one, several = training_data, description
            if images.label_sets is not None:
                one, several = several, one
            raise DataError(
                f"{several} has several labels per image and {one} has one; expected the same of "
                "training and test images"
            )
        if leave_out_unknown and (unknown := unknown_classes(tests, images)):
            matched = keep_known_classes(tests, images)
            if not len(matched):
                raise DataError(f"{description} has no image of a class that {training_data} has")
            notes += (
                f"; left out: {len(tests) - len(matched):,} test images of {len(unknown)} classes "
                f"without training images: {', '.join(unknown[:10])}"
            )
        else:
            matched = match_classes(tests, images)
        if (untrained := untrained_classes(matched, whole)) and not empty_classes:
            raise DataError(
                f"{training_data} has no training image of the test classes "
                f"{', '.join(untrained[:10])}"
            )
        tests = limit_images(matched, limit)
        if lost := len(untrained_classes(tests, images)) - len(untrained_classes(tests, whole)):
            notes += f"; --limit leaves no training image of {lost} of the classes tested"
    if train is not None:
        assert tests is not None
        _refuse_shared(images.identities(locate(train)) & tests.identities(locate(data)))
        notes = f"; training images of {train}" + notes
    sources = (source,) if test_source is source else (source, test_source)
    return LabelledData(
        images, tests, description + notes, source, test_fraction, cut_later, sources
    )


def _refuse_shared(shared: set[str]) -> None:
    if shared:
        raise DataError(
            f"{len(shared):,} images are both training and test images, such as {min(shared)}; "
            "give DATA with a test split, or other images"
        )


def _require_labels(images: ImageSet, data: str, *, several_labels: bool) -> None:
    """Refuse images without labels, with several where one is expected, or of a single class.

    Raises:
        DataError: Says why there are no labels, if that is known.
    """
    if images.label_sets is not None:
        if not several_labels:
            raise DataError(
                f"{data} has several labels per image; expected one. finetune, predict, probe "
                "--kind linear and probe --preset voc07-svm take several"
            )
        return
    if images.labels is None:
        raise DataError(
            f"{data} has no labels: "
            + (
                images.unlabelled
                or "expected a sub-folder for each class, or labels in the .npz or .csv file"
            )
        )
    if are_split_names(images.class_names):
        raise DataError(
            f"{data} has the classes {', '.join(map(repr, images.class_names))}, which are names "
            "of splits; expected the names of classes"
        )
    if len(np.unique(images.labels)) < 2:
        raise DataError(f"{data} has images of only one class; expected at least two")
