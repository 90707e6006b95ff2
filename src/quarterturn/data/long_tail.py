"""Long-tailed subsets of balanced collections, identical to those of the LDAM-DRW repository.

As in Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
NeurIPS 2019, so that results on CIFAR-10-LT and CIFAR-100-LT are on the very same images.

Shapes: N images; C classes, numbered 0..C-1 from the most frequent to the rarest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quarterturn.errors import DataError


def long_tail_counts(
    max_count: float, num_classes: int, factor: float, kind: str = "exponential"
) -> list[int]:
    """Images of each class in a long tail, rounded down.

    ``exponential``: max_count * factor ** (c / (C - 1)) for class c. ``step``: max_count for the
    first half of the classes, max_count * factor for the second half, which is the larger one if C
    is odd.

    Args:
        max_count: Images of the most frequent class; N / C, which need not be an integer.
        num_classes: C, at least 2.
        factor: Size of the rarest class over ``max_count``, in (0, 1].
        kind: ``exponential`` or ``step``.

    Returns:
        (C,) counts; those of rare classes are 0 if ``max_count * factor`` is below 1.

    Raises:
        ValueError: An argument is out of range.
    """
    if not max_count >= 0:
        raise ValueError(f"max_count is {max_count}; expected 0 or more")
    if num_classes < 2:
        raise ValueError(f"num_classes is {num_classes}; a long tail needs at least 2 classes")
    if not 0 < factor <= 1:
        raise ValueError(f"factor is {factor}; expected a fraction above 0, up to 1")
    # The repository's order of these products: another one may round to other counts.
    if kind == "exponential":
        return [int(max_count * factor ** (c / (num_classes - 1))) for c in range(num_classes)]
    if kind == "step":
        half = num_classes // 2
        return [int(max_count)] * half + [int(max_count * factor)] * (num_classes - half)
    raise ValueError(f"kind is {kind!r}; expected 'exponential' or 'step'")


def long_tail_indices(
    targets: Sequence[int] | NDArray[np.integer],
    factor: float,
    kind: str = "exponential",
    seed: int = 0,
) -> NDArray[np.int64]:
    """Numbers of the images in a long-tailed subset.

    One legacy generator shuffles the images of each class, in ascending order of classes, and the
    first images of each are taken. The repository's seed is 0.

    Args:
        targets: (N,) classes 0..C-1.
        factor: Size of the rarest class over that of the most frequent one, in (0, 1].
        kind: ``exponential`` or ``step``; see `long_tail_counts`.
        seed: Fixes which images are taken.

    Returns:
        Image numbers, class by class, in shuffled order within each class. A class with fewer
        images than its count keeps all of them.

    Raises:
        ValueError: ``factor`` or ``kind`` is out of range.
        DataError: There are fewer than 2 classes, or a class has no image.
    """
    targets = np.asarray(targets, dtype=np.int64)
    if targets.min(initial=0) < 0:
        raise DataError(f"a long tail needs class numbers of 0 or more, found {targets.min()}")
    available = np.bincount(targets)
    num_classes = len(available)
    if num_classes < 2:
        raise DataError(f"a long tail needs images of at least 2 classes, found {num_classes}")
    if (missing := np.flatnonzero(available == 0)).size:
        listed = ", ".join(map(str, missing[:10]))
        more = f" and {missing.size - 10} more" if missing.size > 10 else ""
        raise DataError(
            f"a long tail needs images of every class, 0 to {num_classes - 1}; there are none of "
            f"class {listed}{more}"
        )
    random = np.random.RandomState(seed)
    chosen = []
    counts = long_tail_counts(len(targets) / num_classes, num_classes, factor, kind)
    for label, count in enumerate(counts):
        members = np.flatnonzero(targets == label)
        random.shuffle(members)
        chosen.append(members[:count])
    return np.concatenate(chosen)
