"""The training and test images of one seed, with the class counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config.data import DataConfig, Resampling
from quarterturn.data.imageset import ImageSet
from quarterturn.data.label_sets import class_counts, require_both
from quarterturn.data.labelled import LabelledData, open_labelled
from quarterturn.data.sampling import image_chances
from quarterturn.data.subsets import draw_per_class
from quarterturn.errors import DataError


@dataclass(frozen=True)
class TrainTestSplit:
    """Labelled images, split by one seed.

    Attributes:
        split: The labelled data that was split.
        train: The training images.
        test: The test images.
        class_counts: (C,) training images of each class; of several per image, those it is in.
        description: A phrase on where the test images come from.
    """

    split: LabelledData
    train: ImageSet
    test: ImageSet
    class_counts: NDArray[np.int64]
    description: str

    @classmethod
    def of(
        cls,
        split: LabelledData,
        seed: int,
        *,
        leave_out_empty: bool = False,
        per_class: int | None = None,
    ) -> TrainTestSplit:
        """Split labelled data by a seed.

        Args:
            split: The labelled data.
            seed: Fixes which images are held out if there is no test split.
            leave_out_empty: Leave out the test images of classes without training images.
            per_class: Training images of each class at most, drawn by the seed; all without.

        Raises:
            DataError: A class has no training image and ``leave_out_empty`` is off, or no test
                image is left.
        """
        numbers, tests = split.parts(seed)
        if per_class is not None and split.train.labels is not None:
            numbers = numbers[draw_per_class(split.train.labels[numbers], per_class, seed)]
        train, test = split.train.subset(numbers), split.tests.subset(tests)
        if train.label_sets is not None:
            require_both(train.label_sets, train.class_names)
            counts = class_counts(train.label_sets)
            return cls(split, train, test, counts, split.description)
        assert train.labels is not None
        counts = np.bincount(train.labels, minlength=len(train.class_names))
        empty = [train.class_names[c] for c in np.flatnonzero(counts == 0)]
        if empty and not leave_out_empty:
            raise DataError(
                f"no training image of {len(empty)} of the {len(counts)} classes: "
                f"{', '.join(empty[:10])}; leave them out with --leave-out-empty"
            )
        test, left_out = _leave_out_empty_classes(test, counts)
        return cls(split, train, test, counts, split.description + left_out)

    def file_of_test(self, index: int) -> str:
        """A name for a test image that no training image has."""
        name, source = self.test.names[index], self.split.source
        return name if self.split.test is None else source.file_of(source.test_name, name)

    def words(self) -> str:
        """One line with the number of images and classes."""
        return (
            f"{len(self.train):,} labelled training images ({self.class_counts.max():,} to "
            f"{self.class_counts.min():,} per class), {len(self.test):,} test images: "
            f"{self.description}"
        )

    def chances(self, rule: Resampling, beta: float) -> Tensor | None:
        """(N,) sampling weights of the training images; None draws each once per epoch."""
        if rule == "none":
            return None
        assert self.train.labels is not None
        labels = torch.from_numpy(self.train.labels)
        return image_chances(labels, torch.from_numpy(self.class_counts), rule, beta)


def _leave_out_empty_classes(test: ImageSet, counts: NDArray[np.int64]) -> tuple[ImageSet, str]:
    """The test images of classes with training images, and a phrase on those left out."""
    assert test.labels is not None
    known = np.flatnonzero(counts[test.labels] > 0)
    if len(known) == len(test):
        return test, ""
    if not len(known):
        raise DataError("no test image is of a class that has a training image")
    empty = sorted({test.class_names[c] for c in np.flatnonzero(counts == 0)})
    phrase = (
        f"; left out: {len(test) - len(known):,} test images of classes without training images: "
        f"{', '.join(empty[:10])}"
    )
    return test.subset(known), phrase


def open_training_data(
    data: str,
    settings: DataConfig,
    *,
    leave_out_unknown: bool = False,
    download: bool = False,
    index: Path | None = None,
) -> LabelledData:
    """Open the labelled images of ``DATA`` by the settings of a training.

    Args:
        data: DATA with labels.
        settings: Which images.
        leave_out_unknown: Leave out test images of classes that the training images lack.
        download: Fetch a named data set that is missing.
        index: Folder of the header index; see `open_labelled`.

    Raises:
        DataError: As `open_labelled`, except that `TrainTestSplit` checks for classes without
            training images.
    """
    return open_labelled(
        data,
        long_tail=settings.long_tail,
        long_tail_kind=settings.long_tail_kind,
        limit=settings.limit,
        test_fraction=settings.holdout,
        **settings.reading,
        verify=settings.verify,
        empty_classes=True,
        leave_out_unknown=leave_out_unknown,
        several_labels=True,
        download=download,
        index=index,
    )
