"""Labelled images of one training, and how many there are of each class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import Config, Resampling
from quarterturn.data.imageset import ImageSet
from quarterturn.data.labelled import LabelledData, open_labelled
from quarterturn.data.sampling import image_chances
from quarterturn.errors import DataError


@dataclass(frozen=True)
class TrainTestSplit:
    """Labelled images of one seed.

    Attributes:
        split: Where they are from, and how they are parted.
        train: Images to learn from.
        test: Images to test on.
        class_counts: (C,) training images of each class.
        description: How they are parted, in words.
    """

    split: LabelledData
    train: ImageSet
    test: ImageSet
    class_counts: NDArray[np.int64]
    description: str

    @classmethod
    def of(cls, split: LabelledData, seed: int, *, leave_out_empty: bool = False) -> TrainTestSplit:
        """Those that a seed parts, where the data has no test part of its own.

        Args:
            split: Where they are from.
            seed: Which images are held out.
            leave_out_empty: Go on without the classes that have no training image: their test
                images are left out.

        Raises:
            DataError: A class has no training image, and nobody has asked to leave it out; or all
                test images are of such classes.
        """
        numbers, tests = split.parts(seed)
        train, test = split.train.subset(numbers), split.tests.subset(tests)
        assert train.labels is not None
        counts = np.bincount(train.labels, minlength=len(train.class_names))
        empty = [train.class_names[c] for c in np.flatnonzero(counts == 0)]
        if empty and not leave_out_empty:
            raise DataError(
                f"no training image of {len(empty)} of the {len(counts)} classes: "
                f"{', '.join(empty[:10])}; --leave-out-empty goes on without them"
            )
        test, left_out = _of_known_classes(test, counts)
        return cls(split, train, test, counts, split.description + left_out)

    def file_of_test(self, index: int) -> str:
        """The name of a test image, which no training image has."""
        name, source = self.test.names[index], self.split.source
        return name if self.split.test is None else source.file_of(source.test_name, name)

    def words(self) -> str:
        """How many there are, and of what."""
        return (
            f"{len(self.train):,} labelled images to learn from ({self.class_counts.max():,} to "
            f"{self.class_counts.min():,} a class), {len(self.test):,} to test on: "
            f"{self.description}"
        )

    def chances(self, rule: Resampling, beta: float) -> Tensor | None:
        """How likely each training image is to be drawn; None where each is drawn once an epoch."""
        if rule == "none":
            return None
        assert self.train.labels is not None
        labels = torch.from_numpy(self.train.labels)
        return image_chances(labels, torch.from_numpy(self.class_counts), rule, beta)


def _of_known_classes(test: ImageSet, counts: NDArray[np.int64]) -> tuple[ImageSet, str]:
    """The test images of classes that can be learned, and words on the others."""
    assert test.labels is not None
    known = np.flatnonzero(counts[test.labels] > 0)
    if len(known) == len(test):
        return test, ""
    if not len(known):
        raise DataError("no test image is of a class that has a training image")
    lacking = sorted({test.class_names[c] for c in np.flatnonzero(counts == 0)})
    words = (
        f"; left out: {len(test) - len(known):,} test images of classes without training images: "
        f"{', '.join(lacking[:10])}"
    )
    return test.subset(known), words


def open_training_data(
    data: str,
    config: Config,
    *,
    download: bool = False,
    index: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> LabelledData:
    """Labelled images of ``DATA``, as a training of these settings parts them.

    Args:
        data: DATA with labels.
        config: All settings.
        download: Fetch a named data set that is not there.
        index: Where the headers of image files are kept; see `open_labelled`.
        say: Takes lines on the progress.

    Raises:
        DataError: As `open_labelled`; but classes without images are left to `TrainTestSplit`,
            and those whose names the training images have not are left out where the settings say
            so.
    """
    settings = config.data
    return open_labelled(
        data,
        long_tail=settings.long_tail,
        long_tail_kind=settings.long_tail_kind,
        limit=settings.limit,
        test_fraction=settings.holdout,
        max_bad_fraction=settings.max_bad_fraction,
        verify=settings.verify,
        empty_classes=True,
        leave_out_unknown=config.classifier.leave_out_empty,
        download=download,
        index=index,
        say=say,
    )
