"""How many images of each class there are in each split.

Shapes: C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from quarterturn.data.imageset import ImageSet
from quarterturn.data.label_sets import class_counts
from quarterturn.inspecting.inspection import Inspection

IMBALANCED = 10.0
"""Times as many images of the most frequent class as of the rarest, from which methods for the long
tail are worth a try."""


@dataclass(frozen=True)
class ClassCounts:
    """Images that can be read of each class, by split.

    Attributes:
        by_split: Split to class to number, of the splits with labels.
        has_several_labels: Whether an image may be of several classes.
        test_name: The split that is tested on; empty without one.
    """

    by_split: Mapping[str, Mapping[str, int]]
    has_several_labels: bool = False
    test_name: str = ""

    @property
    def train(self) -> Mapping[str, int]:
        """Class to number of training images; empty without labels."""
        return self.by_split.get("train", {})

    @cached_property
    def names(self) -> list[str]:
        """All classes of any split, those with most training images first."""
        every = dict.fromkeys(name for counts in self.by_split.values() for name in counts)
        return sorted(every, key=lambda name: -self.train.get(name, 0))

    @property
    def untrained(self) -> list[tuple[str, str]]:
        """Split and name of classes without training images; none where nothing is labelled."""
        if not self.train:
            return []
        return [
            (split, name)
            for split, counts in self.by_split.items()
            for name, number in counts.items()
            if split != "train" and number and not self.train.get(name)
        ]

    @property
    def untested(self) -> list[str]:
        """Classes of training images that the test split has no image of."""
        tested = self.by_split.get(self.test_name)
        if not tested:
            return []
        return [name for name, number in self.train.items() if number and not tested.get(name)]

    @property
    def imbalance(self) -> float | None:
        """Training images of the most frequent class over those of the rarest that has some."""
        numbers = [number for number in self.train.values() if number]
        return max(numbers) / min(numbers) if len(numbers) > 1 else None


def count_classes(found: Inspection) -> ClassCounts:
    """Count the labels of the images that can be read."""
    by_split, several = {}, False
    for number, split in enumerate(found.split_names):
        images = found.source.all_splits[split]
        counted = images.subset(found.indices[found.splits == number])
        if (counts := _counts(counted)) is not None:
            by_split[split] = counts
            several = several or counted.label_sets is not None
    return ClassCounts(by_split, several, found.source.test_name)


def _counts(images: ImageSet) -> dict[str, int] | None:
    if images.label_sets is not None:
        numbers = class_counts(images.label_sets)
    elif images.labels is not None:
        known = images.labels[images.labels >= 0]
        numbers = np.bincount(known, minlength=len(images.class_names))
    else:
        return None
    return dict(zip(images.class_names, numbers.tolist(), strict=True))
