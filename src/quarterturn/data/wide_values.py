"""Values of more than 8 bits as grey levels: the black and the white point, and their scaling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BIT_DEPTHS = (10, 12, 14, 16)
"""Bits that cameras and scanners fill of a 16-bit value."""

STRIP_PIXELS = 1 << 21
"""Pixels converted at a time: in float64, a whole photo would take many times its own memory."""


@dataclass(frozen=True)
class Levels:
    """The values shown as black and as white.

    Attributes:
        black: Shown as 0; below 0 for signed values.
        white: Shown as 255.
        is_given: ``white`` was asked for: brighter values are clipped. Otherwise an image that has
            values beyond the two is scaled by levels of its own, so that nothing is lost.
    """

    black: float = 0
    white: float = 65535
    is_given: bool = False

    @classmethod
    def covering(cls, lowest: int, highest: int) -> Levels | None:
        """Levels for stored values: 10, 12, 14 or 16 bits from 0, or from a power of two below it.

        Returns:
            The levels; None if 16 bits do not cover the values.
        """
        black = 0 if lowest >= 0 else -(1 << (-lowest - 1).bit_length())
        for bits in BIT_DEPTHS:
            if highest - black < 1 << bits:
                return cls(black, black + (1 << bits) - 1)
        return None


def to_8bit(image: Image.Image, levels: Levels | None = None) -> Image.Image:
    """Scale wide integers and floats to 0..255.

    Integers of up to 16 bits are scaled by the levels of their collection. Without these 65535
    becomes 255, and signed values are shifted by a power of two. Wider integers, and floats beyond
    [0, 1], have no standard white level: their maximum becomes 255. Values that are not finite,
    which mark missing measurements, become 0.

    Args:
        image: Of a mode ``I`` or ``F`` or one of their kind.
        levels: Those of the collection.

    Returns:
        The image in mode ``L``.
    """
    lowest, highest = value_range(image)
    is_integer = not image.mode.startswith("F")
    used = _levels_of(lowest, highest, levels, is_integer=is_integer)
    scale = 255.0 / (used.white - used.black)
    grey = Image.new("L", image.size)
    for top, values in strips(image):
        if used.black:
            values = values.astype(np.int32) - int(used.black)
        above_black = np.clip(values, 0, used.white - used.black if used.is_given else None)
        scaled = np.round(above_black * scale).astype(np.uint8)
        grey.paste(Image.fromarray(scaled), (0, top))
    return grey


def value_range(image: Image.Image) -> tuple[float, float]:
    """The lowest and the highest finite value; 0 and 0 if there is none."""
    found = [(float(values.min()), float(values.max())) for _, values in strips(image)]
    return min((low for low, _ in found), default=0.0), max(
        (high for _, high in found), default=0.0
    )


def strips(image: Image.Image) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """Rows of a wide image, (h, W) at a time with the number of the first; missing values are 0."""
    width, height = image.size
    step = max(1, STRIP_PIXELS // max(1, width))
    for top in range(0, height, step):
        values = np.asarray(image.crop((0, top, width, min(top + step, height))))
        yield top, values if values.dtype.kind in "iu" else np.where(np.isfinite(values), values, 0)


def _levels_of(
    lowest: float, highest: float, collection: Levels | None, *, is_integer: bool
) -> Levels:
    if not is_integer:
        return Levels(0, max(1.0, highest))
    if collection is not None:
        if collection.is_given or collection.black <= lowest <= highest <= collection.white:
            return collection
        lowest, highest = min(lowest, collection.black), max(highest, collection.white)
        if own := Levels.covering(int(lowest), int(highest)):
            return own
    elif lowest < 0 and highest < 1 << 15 and (own := Levels.covering(int(lowest), int(highest))):
        return own
    return Levels(0, max(65535.0, highest))
