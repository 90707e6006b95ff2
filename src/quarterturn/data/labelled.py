"""Labelled images: a part to learn from and a part to test on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.identity import identities
from quarterturn.data.imageset import ImageSet
from quarterturn.data.selection import (
    cut_long_tail,
    known_classes,
    limit_images,
    long_tail_numbers,
    match_classes,
    stratified_split,
    unknown_classes,
)
from quarterturn.data.sources import Source, locate, open_source
from quarterturn.errors import ConfigError, DataError

TEST_FRACTION = 0.2


@dataclass(frozen=True)
class LabelledData:
    """Labelled images, with a test part of their own or to be parted by seed.

    Attributes:
        train: Images to learn from, and to take the test part from where it has none.
        test: The test part under the class numbers of ``train``, or None.
        description: How they are parted, in words.
        source: Where the training images are from.
        test_fraction: Share of each class that is held out where there is no test part.
        long_tail: Factor and kind of the long tail that the training images are cut to once the
            test part is held out of them; None where ``train`` is what is learned from.
    """

    train: ImageSet
    test: ImageSet | None
    description: str
    source: Source
    test_fraction: float = TEST_FRACTION
    long_tail: tuple[float, str] | None = None

    def labels_fingerprint(self) -> str:
        """A short hash of all labels and the classes' names: the images do not tell the task."""
        digest = hashlib.sha256("\0".join(self.train.class_names).encode(errors="surrogateescape"))
        for part in (self.train, self.tests):
            digest.update(np.ascontiguousarray(part.labels).data)
        return digest.hexdigest()[:16]

    @property
    def tests(self) -> ImageSet:
        """The images that test images are taken from."""
        return self.train if self.test is None else self.test

    def parts(self, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the training and of the test images.

        Raises:
            DataError: There are too few to hold any out, or to cut a long tail from the others.
            ConfigError: None are to be held out.
        """
        if self.test is not None:
            return np.arange(len(self.train)), np.arange(len(self.test))
        assert self.train.labels is not None
        if self.test_fraction == 0:
            raise ConfigError(
                "--holdout is 0; expected a fraction above 0: this data has no test split, and "
                "without a test there is no figure"
            )
        train, test = stratified_split(self.train.labels, self.test_fraction, seed)
        if len(test) == 0:
            raise DataError(
                f"{len(self.train)} images are too few to hold out {self.test_fraction:.0%} of "
                "each class; give data with a test split"
            )
        if self.long_tail is not None:
            kept, _ = long_tail_numbers(self.train.subset(train), *self.long_tail)
            train = train[kept]
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
    verify: bool = False,
    empty_classes: bool = False,
    leave_out_unknown: bool = False,
    download: bool = False,
    index: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> LabelledData:
    """Labelled images of ``DATA``, and where the test part is to come from.

    Args:
        data: DATA with labels. Without a split of its own, a stratified part is held out.
        test: Other DATA to test on.
        train: Other DATA to learn from. The test part is then that of ``data``, or all of it where
            it has none.
        long_tail: Cut the training part, and never the test part; see `cut_long_tail`. Where there
            is a test part, the cut comes before the limit; else after, once one is held out.
        long_tail_kind: ``exponential`` or ``step``.
        limit: Use at most this many images of each part.
        test_fraction: Share of each class to hold out where there is no test part.
        max_bad_fraction: More unreadable image files than this are an error.
        verify: Decode every file in full, not only its header.
        empty_classes: Let pass test images of a class that has no training image.
        leave_out_unknown: Leave out test images of classes whose very names the training images
            have not, such as folders that are not there.
        download: Fetch a named data set that is not there.
        index: Where the headers of image files are kept; see `open_source`.
        say: Takes lines on the progress.

    Raises:
        DataError: No labels, one class alone, test classes that training lacks, or an image to
            learn from that is a test image as well.
        ConfigError: Other data is given for both parts.
    """
    if train is not None and test is not None:
        raise ConfigError("give --train or --test: with both, nothing of DATA itself takes part")
    options: dict[str, Any] = {
        "max_bad_fraction": max_bad_fraction,
        "verify": verify,
        "download": download,
        "index": index,
        "say": say,
    }
    source = open_source(data, **options)
    other, description = source.test, f"the split {source.test_name!r}"
    learned = data
    if train is not None:
        other = source.train if other is None else other
        description = f"{description} of {data}" if source.test_name else data
        source, learned = open_source(train, **options), train
    if test is not None:
        other, description = open_source(test, **options).train, test
    images, cut, later = source.train, "", None
    if long_tail is not None:
        if not 0 < long_tail <= 1:
            raise ConfigError(f"--long-tail is {long_tail}; expected above 0, up to 1")
        if other is None:
            later = (long_tail, long_tail_kind)
        else:
            images, _ = cut_long_tail(images, long_tail, long_tail_kind)
        cut = f"; training images cut to a long tail ({long_tail_kind}, {long_tail:g})"
    whole, images = images, _labelled(limit_images(images, limit), learned)
    if other is None:
        description = f"a stratified {test_fraction:.0%} held out by seed"
    else:
        _labelled(other, description)
        if leave_out_unknown and (unknown := unknown_classes(other, images)):
            matched = known_classes(other, images)
            if not len(matched):
                raise DataError(f"{description} has no image of a class that {learned} has")
            cut += (
                f"; left out: {len(other) - len(matched):,} test images of {len(unknown)} classes "
                f"without training images: {', '.join(unknown[:10])}"
            )
        else:
            matched = match_classes(other, images)
        if (lacking := _tested_alone(matched, whole)) and not empty_classes:
            raise DataError(
                f"test classes of which {learned} has no training image: {', '.join(lacking[:10])}"
            )
        other = limit_images(matched, limit)
        if lost := len(_tested_alone(other, images)) - len(_tested_alone(other, whole)):
            cut += f"; --limit leaves no training image of {lost} of the classes tested"
    if train is not None:
        assert other is not None
        _refuse_shared(identities(images, locate(train)) & identities(other, locate(data)))
        cut = f"; training images of {train}" + cut
    return LabelledData(images, other, description + cut, source, test_fraction, later)


def _tested_alone(tests: ImageSet, train: ImageSet) -> list[str]:
    """The classes that have test images and no training image."""
    assert tests.labels is not None
    assert train.labels is not None
    return [tests.class_names[c] for c in np.setdiff1d(tests.labels, train.labels)]


def _refuse_shared(shared: set[str]) -> None:
    if shared:
        raise DataError(
            f"{len(shared):,} images are in both parts, to learn from and to test on, such as "
            f"{min(shared)}; give DATA with a test split, or other images"
        )


def _labelled(images: ImageSet, data: str) -> ImageSet:
    if images.labels is None:
        raise DataError(
            f"{data} has no labels to learn from: "
            + (
                images.unlabelled
                or "expected a sub-folder for each class, or labels in the .npz or .csv file"
            )
        )
    if len(np.unique(images.labels)) < 2:
        raise DataError(f"{data} has images of one class alone: there is nothing to tell apart")
    return images
