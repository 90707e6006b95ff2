"""Images with several labels each: which classes are in an image, are not, or do not count.

Shapes: N images; C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from quarterturn.errors import DataError
from quarterturn.randomness import permutation

LabelSets = NDArray[np.int8]
"""(N, C) of the three values below."""

PRESENT, ABSENT, IGNORED = 1, 0, -1
"""Ignored entries are in no loss and no figure, such as objects that VOC marks "difficult"."""

SEPARATOR = "|"
"""Between the labels of an image, where they are written as one word."""


def label_sets_of(labels: Iterable[set[str]], class_names: Sequence[str]) -> LabelSets:
    """Label sets of images whose classes are all known.

    Args:
        labels: The classes of each image.
        class_names: (C,) names.
    """
    column = {name: c for c, name in enumerate(class_names)}
    rows = [[column[name] for name in names] for names in labels]
    found = np.full((len(rows), len(column)), ABSENT, np.int8)
    for row, columns in zip(found, rows, strict=True):
        row[columns] = PRESENT
    return found


def renumbered(
    label_sets: LabelSets, class_names: Sequence[str], wanted: Sequence[str]
) -> LabelSets:
    """The label sets under other class numbers, by name; a class not named here is absent."""
    columns = {name: label_sets[:, c] for c, name in enumerate(class_names)}
    absent = np.full(len(label_sets), ABSENT, np.int8)
    return np.stack([columns.get(name, absent) for name in wanted], axis=1)


def class_counts(label_sets: LabelSets) -> NDArray[np.int64]:
    """(C,) images that each class is in."""
    return (label_sets == PRESENT).sum(axis=0)


def require_both(label_sets: LabelSets, class_names: Sequence[str]) -> None:
    """Refuse training images of which none has a class, or all have it.

    Raises:
        DataError: Names the classes.
    """
    for value, words in ((PRESENT, "no training image has"), (ABSENT, "every training image has")):
        names = [
            name
            for name, column in zip(class_names, label_sets.T, strict=True)
            if not (column == value).any()
        ]
        if names:
            raise DataError(
                f"{words} the class {', '.join(names[:10])}: a classifier needs images with and "
                "without it; give more images, or leave the class out"
            )


def words_of(row: NDArray[np.int8], class_names: Sequence[str]) -> str:
    """The classes of an image as one word."""
    return SEPARATOR.join(
        name for name, value in zip(class_names, row, strict=True) if value == PRESENT
    )


def random_split(
    num_images: int, test_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of training and test images, ascending.

    Label sets leave no classes to draw equal shares of.

    Args:
        num_images: N.
        test_fraction: Share of the images in the test part.
        seed: Fixes which images are held out.
    """
    order = permutation(num_images, seed, "hold out images with several labels").numpy()
    num_test = round(num_images * test_fraction)
    return np.sort(order[num_test:]), np.sort(order[:num_test])
