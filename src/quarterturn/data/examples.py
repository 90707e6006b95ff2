"""Labelled images of one training, and how many there are of each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import Resampling
from quarterturn.data.imageset import ImageSet
from quarterturn.data.labelled import LabelledSplit
from quarterturn.data.sampling import image_chances
from quarterturn.errors import DataError


@dataclass(frozen=True)
class Examples:
    """Labelled images of one seed.

    Attributes:
        split: Where they are from, and how they are parted.
        train: Images to learn from.
        test: Images to test on.
        class_counts: (C,) training images of each class.
    """

    split: LabelledSplit
    train: ImageSet
    test: ImageSet
    class_counts: NDArray[np.int64]

    @classmethod
    def of(cls, split: LabelledSplit, seed: int, *, leave_out_empty: bool = False) -> Examples:
        """Those that a seed parts, where the data has no test part of its own.

        Raises:
            DataError: A class has no training image, and nobody has asked to leave it out.
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
        return cls(split, train, test, counts)

    def words(self) -> str:
        """How many there are, and of what."""
        return (
            f"{len(self.train):,} labelled images to learn from ({self.class_counts.max():,} to "
            f"{self.class_counts.min():,} a class), {len(self.test):,} to test on: "
            f"{self.split.description}"
        )

    def chances(self, rule: Resampling, beta: float) -> Tensor | None:
        """How likely each training image is to be drawn; None where each is drawn once an epoch."""
        if rule == "none":
            return None
        assert self.train.labels is not None
        labels = torch.from_numpy(self.train.labels)
        return image_chances(labels, torch.from_numpy(self.class_counts), rule, beta)
