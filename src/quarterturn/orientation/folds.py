"""Split images into folds for cross-fitting, with exact copies in one fold.

Shapes: N images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.content_keys import content_keys
from quarterturn.data.imageset import ImageSet
from quarterturn.errors import ConfigError
from quarterturn.randomness import permutation

Numbers = NDArray[np.int64]

MAX_VALIDATION = 5000
"""Largest number of validation images of a fold."""


@dataclass(frozen=True)
class Fold:
    """The training, validation and held-out images of one network.

    Attributes:
        train: Numbers of the training images.
        validation: Numbers of the images for early stopping and temperature scaling.
        held_out: Numbers of the images to score; neither they nor exact copies of them are in
            ``train``.
    """

    train: Numbers
    validation: Numbers
    held_out: Numbers


def duplicate_groups(images: ImageSet) -> Numbers:
    """(N,) group number of each image; exact copies, by `content_keys`, share a group."""
    number: dict[bytes, int] = {}
    [keys] = content_keys([images])
    return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64)


def split_into_folds(
    images: ImageSet, num_folds: int, *, validation: float = 0.1, seed: int = 0
) -> list[Fold]:
    """Split images into folds of nearly equal size; each image is held out once.

    Args:
        images: All N images.
        num_folds: Number of folds.
        validation: Share of the other folds' images for validation, at most 5,000 of them.
        seed: Fixes the split.

    Raises:
        ConfigError: There are too few distinct images.
    """
    groups = duplicate_groups(images)
    num_groups = int(groups.max()) + 1
    require_enough(num_groups, num_folds)
    fold_of = _cut(groups, permutation(num_groups, seed, "folds").numpy(), num_folds)
    folds = []
    for number in range(num_folds):
        others = np.flatnonzero(fold_of != number)
        share = min(max(1, round(validation * len(others))), MAX_VALIDATION)
        # Groups are in random order; the first ones, undivided, are for validation.
        place = np.argsort(permutation(num_groups, seed, "validation", number).numpy())
        places = place[groups[others]]
        chosen = places <= np.sort(places)[share - 1]
        folds.append(Fold(others[~chosen], others[chosen], np.flatnonzero(fold_of == number)))
    if min(len(part) for f in folds for part in (f.train[1:], f.held_out)) == 0:
        raise ConfigError(
            f"--folds {num_folds}: most of the {len(images):,} images are copies of each other, "
            "which stay together, so a fold would be empty"
        )
    return folds


def require_enough(num_different: int, num_folds: int) -> None:
    """Refuse folds of fewer than 4 distinct images.

    Raises:
        ConfigError: Says how many distinct images there are.
    """
    if num_folds < 2 or num_different < 4 * num_folds:
        raise ConfigError(
            f"--folds {num_folds} of {num_different} distinct images: expected at least 2 folds of "
            "at least 4 images each"
        )


def _cut(groups: Numbers, order: Numbers, num_parts: int) -> Numbers:
    """(N,) fold of each image: groups in the given order, cut into parts of nearly equal size."""
    sizes = np.bincount(groups)[order]
    middles = np.cumsum(sizes) - sizes / 2
    part_of_group = np.empty(len(order), dtype=np.int64)
    part_of_group[order] = np.floor(middles * num_parts / len(groups)).astype(np.int64)
    return part_of_group[groups]
