"""Subsets of an image set: long tails, limits, held-out images, stratified splits.

Every subset is a pure function of the images and a seed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.imageset import ImageSet
from quarterturn.data.long_tail import long_tail_indices
from quarterturn.errors import DataError
from quarterturn.randomness import permutation

SELECTION_SEED = 0
"""Fixed, so that runs with different seeds train on the same images."""
MIN_HELD_OUT = 8


def cut_long_tail(images: ImageSet, factor: float, kind: str) -> tuple[ImageSet, str]:
    """The images of `long_tail_numbers`, and its sentence."""
    numbers, sentence = long_tail_numbers(images, factor, kind)
    return images.subset(numbers), sentence


def long_tail_numbers(images: ImageSet, factor: float, kind: str) -> tuple[NDArray[np.int64], str]:
    """Numbers of the images in a long tail, and a sentence on what labels were read for.

    Args:
        images: Labelled images.
        factor: Size of the rarest class over that of the most frequent one.
        kind: ``exponential`` or ``step``; see `quarterturn.data.long_tail`.

    Returns:
        The numbers, ascending, and the sentence.

    Raises:
        DataError: No labels, fewer than two classes, or a class without images.
    """
    if images.label_sets is not None:
        raise DataError(
            f"--long-tail {factor} cuts classes of images that have one label each, and these have "
            "several; leave it out"
        )
    if images.labels is None:
        raise DataError(
            f"--long-tail {factor} reads labels, and these images have none: expected a sub-folder "
            "for each class, or data with labels"
        )
    numbers = np.sort(long_tail_indices(images.labels, factor, kind, SELECTION_SEED))
    counts = np.bincount(images.labels[numbers], minlength=int(images.labels.max()) + 1)
    sentence = (
        f"labels were read to cut a long tail ({kind}, {factor:g}): {len(numbers):,} of "
        f"{len(images):,} images, {counts.max():,} to {counts.min():,} per class"
    )
    return numbers, sentence


def limit_images(images: ImageSet, limit: int | None) -> ImageSet:
    """A random subset of ``limit`` images by a fixed seed, in the original order."""
    if limit is None or limit >= len(images):
        return images
    chosen = permutation(len(images), SELECTION_SEED, "limit")[:limit]
    return images.subset(np.sort(chosen.numpy()))


def hold_out(
    images: ImageSet, fraction: float, most: int | None
) -> tuple[ImageSet, ImageSet | None]:
    """Split images into those to train on and those for diagnostics.

    Args:
        images: All images.
        fraction: Share to hold out.
        most: Images to hold out at most; None for no bound.

    Returns:
        (training, held out); the second is None if fewer than 8 images would be held out.
    """
    num_held = round(len(images) * fraction)
    num_held = num_held if most is None else min(num_held, most)
    if num_held < MIN_HELD_OUT:
        return images, None
    order = permutation(len(images), SELECTION_SEED, "hold-out").numpy()
    return images.subset(np.sort(order[num_held:])), images.subset(np.sort(order[:num_held]))


def first_of_each_class(
    labels: NDArray[np.int64], num_classes: int, images_per_class: int
) -> NDArray[np.int64] | None:
    """Numbers of the first ``images_per_class`` images of each class, ascending.

    None if a class has fewer.
    """
    members = [np.flatnonzero(labels == label) for label in range(num_classes)]
    if min(len(of_class) for of_class in members) < images_per_class:
        return None
    return np.sort(np.concatenate([of_class[:images_per_class] for of_class in members]))


def draw_per_class(
    labels: NDArray[np.int64], images_per_class: int, seed: int
) -> NDArray[np.int64]:
    """Numbers of ``images_per_class`` random images of each class, ascending.

    A larger number adds images to those of a smaller one; a class with fewer is taken whole.

    Args:
        labels: (N,) classes.
        images_per_class: Of each class at most.
        seed: Fixes which ones.
    """
    drawn = []
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        order = permutation(len(members), seed, "per class", label).numpy()
        drawn.append(members[order[:images_per_class]])
    return np.sort(np.concatenate(drawn))


def stratified_split(
    labels: NDArray[np.int64], test_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of training and test images, with every class in the same proportion.

    The number of test images per class is rounded, so a very small class may have none;
    scikit-learn's splitter refuses such classes.

    Args:
        labels: (N,) classes.
        test_fraction: Share of each class in the test part.
        seed: Fixes which images are held out.

    Returns:
        (training, test) numbers, ascending.
    """
    random = np.random.default_rng(seed)
    in_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        in_test[random.permutation(members)[: round(len(members) * test_fraction)]] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)
