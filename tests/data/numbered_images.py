"""Images that say their own number, so that a subset can be told from any other."""

from __future__ import annotations

import numpy as np

from quarterturn.data.imageset import ArrayImages


def numbered(n: int) -> ArrayImages:
    """Images whose name, only pixel and label all say their number."""
    numbers = np.arange(n)
    pixels = np.stack([numbers % 256, numbers // 256, 0 * numbers], axis=1).astype(np.uint8)
    return ArrayImages(pixels[:, None, None], [str(i) for i in numbers], numbers, ["class"])


def numbers_of(images: ArrayImages) -> list[int]:
    numbers = [int(name) for name in images.names]
    assert images.labels.tolist() == numbers
    assert (images.pixels[:, 0, 0] @ np.array([1, 256, 0])).tolist() == numbers
    assert len(images.sizes) == len(numbers)
    return numbers
