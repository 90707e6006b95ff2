"""Which images of a source take part: limits, held-out images, stratified splits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.imageset import ImageSet
from quarterturn.errors import DataError
from quarterturn.randomness import permutation

SELECTION_SEED = 0
"""Fixed, so that runs with different seeds learn from the same images."""
MAX_HELD_OUT = 1000


def limit_images(images: ImageSet, limit: int | None) -> ImageSet:
    """A random part of the images, drawn once by a fixed seed, in their order."""
    if limit is None or limit >= len(images):
        return images
    chosen = permutation(len(images), SELECTION_SEED, "limit")[:limit]
    return images.subset(np.sort(chosen.numpy()))


def hold_out(images: ImageSet, fraction: float) -> tuple[ImageSet, ImageSet | None]:
    """Part the images in those to learn from and at most 1,000 for diagnostics.

    Args:
        images: All images.
        fraction: Share to hold out.

    Returns:
        (training, held out); the second is None where the share is less than 8 images.
    """
    num_held = min(round(len(images) * fraction), MAX_HELD_OUT)
    if num_held < 8:
        return images, None
    order = permutation(len(images), SELECTION_SEED, "hold-out").numpy()
    return images.subset(np.sort(order[num_held:])), images.subset(np.sort(order[:num_held]))


def stratified_split(
    labels: NDArray[np.int64], test_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of training and of test images, every class in the same proportion.

    Each class gives the nearest whole number of its images to the test part, so that a class with
    very few may give none; scikit-learn's splitter refuses such classes.

    Args:
        labels: (N,) classes.
        test_fraction: Share of each class in the test part.
        seed: Which images they are.

    Returns:
        (training, test) numbers, ascending.
    """
    random = np.random.default_rng(seed)
    in_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        in_test[random.permutation(members)[: round(len(members) * test_fraction)]] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def match_classes(test: ImageSet, train: ImageSet) -> ImageSet:
    """Labelled test images under the class numbers of the training images.

    Raises:
        DataError: A class that the training images lack.
    """
    number = {name: i for i, name in enumerate(train.class_names)}
    if missing := [name for name in test.class_names if name not in number]:
        raise DataError(f"test classes that the training images lack: {', '.join(missing[:10])}")
    assert test.labels is not None
    matched = test.subset(np.arange(len(test)))
    matched.labels = np.array([number[name] for name in test.class_names])[test.labels]
    matched.class_names = train.class_names
    return matched
