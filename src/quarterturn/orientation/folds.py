"""Parting images for cross-fitting, copies of one image together.

Shapes: N images.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.imageset import ArrayImages, FileImages, ImageSet
from quarterturn.errors import ConfigError
from quarterturn.randomness import permutation

Numbers = NDArray[np.int64]

MOST_VALIDATED = 5000
"""Images that validate a network, at most."""


@dataclass(frozen=True)
class Fold:
    """What one network learns from, and what it is asked.

    Attributes:
        train: Numbers of the images it is trained on.
        validation: Numbers of those that stop it and scale its temperature.
        held_out: Numbers of those it scores; it has seen none of them, nor a copy of one.
    """

    train: Numbers
    validation: Numbers
    held_out: Numbers


def duplicate_groups(images: ImageSet) -> Numbers:
    """(N,) a number for each image, the same for exact copies.

    Files are compared by their contents, and only those are read that have one size in common;
    arrays by their pixels. A file that cannot be read is like no other.
    """
    if isinstance(images, ArrayImages):
        keys: list[bytes] = [hashlib.sha256(pixels.tobytes()).digest() for pixels in images.pixels]
    elif isinstance(images, FileImages):
        of_size = Counter(images.num_bytes.tolist())
        keys = [
            _contents(images, i) if of_size[size] > 1 else b"alone %d" % i
            for i, size in enumerate(images.num_bytes.tolist())
        ]
    else:
        keys = [b"%d" % i for i in range(len(images))]
    number: dict[bytes, int] = {}
    return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64)


def _contents(images: FileImages, index: int) -> bytes:
    try:
        with open(images.path(index), "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b"unreadable %d" % index


def part_in_folds(
    images: ImageSet, num_folds: int, *, validation: float = 0.1, seed: int = 0
) -> list[Fold]:
    """Part images in folds of nearly equal size; each is held out once.

    Args:
        images: All N.
        num_folds: How many.
        validation: Share of the other folds' images that a fold's network is not trained on, at
            most 5,000 of them.
        seed: Which images go together.

    Raises:
        ConfigError: There are too few images that are no copies of each other.
    """
    groups = duplicate_groups(images)
    num_groups = int(groups.max()) + 1
    require_enough(num_groups, num_folds)
    fold_of = _cut(groups, permutation(num_groups, seed, "folds").numpy(), num_folds)
    folds = []
    for number in range(num_folds):
        others = np.flatnonzero(fold_of != number)
        share = min(max(1, round(validation * len(others))), MOST_VALIDATED)
        # Groups stand in a random order; the first ones are for validation, whole.
        place = np.argsort(permutation(num_groups, seed, "validation", number).numpy())
        places = place[groups[others]]
        chosen = places <= np.sort(places)[share - 1]
        folds.append(Fold(others[~chosen], others[chosen], np.flatnonzero(fold_of == number)))
    if min(len(part) for f in folds for part in (f.train[1:], f.held_out)) == 0:
        raise ConfigError(
            f"--folds {num_folds}: most of the {len(images):,} images are copies of one another, "
            "which go together, so that a fold would be empty"
        )
    return folds


def require_enough(num_different: int, num_folds: int) -> None:
    """Refuse folds of fewer than 4 images that are no copies of each other.

    Raises:
        ConfigError: Says how many there are.
    """
    if num_folds < 2 or num_different < 4 * num_folds:
        raise ConfigError(
            f"--folds {num_folds} of {num_different} different images: expected 2 folds or more, "
            "of at least 4 images each"
        )


def _cut(groups: Numbers, order: Numbers, num_parts: int) -> Numbers:
    """(N,) part of each image: groups in an order, cut where so many images have gone by."""
    sizes = np.bincount(groups)[order]
    middles = np.cumsum(sizes) - sizes / 2
    part_of_group = np.empty(len(order), dtype=np.int64)
    part_of_group[order] = np.floor(middles * num_parts / len(groups)).astype(np.int64)
    return part_of_group[groups]
