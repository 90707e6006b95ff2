"""The white point of a collection of 16-bit files, from a sample of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

import numpy as np

from quarterturn.data.encoded_image import EncodedImage
from quarterturn.data.image_file import FAILURES, UnreadableImageError, open_image
from quarterturn.data.wide_values import Levels, strips, value_range

logger = logging.getLogger(__name__)

WIDE = frozenset({".png", ".tif", ".tiff", ".pgm", ".pnm", ".ppm", ".jp2", ""})
"""Suffixes of formats that can hold more than 8 bits; rows of parquet files may have none."""
MAX_OPENED, MAX_DECODED, MAX_PIXELS_DECODED = 48, 16, 100_000_000
"""Files of a sample whose headers are read, and those of them with 16 bits that are decoded."""
FEW = 0.1
"""Share of the range; below it, images look nearly black and alike to a network."""


def find_levels(
    names: Sequence[str], encoded: Callable[[int], EncodedImage], white: int | None = None
) -> Levels | None:
    """The levels of a collection's 16-bit grey values, from a sample spread evenly over it.

    The white point is the highest value found, rounded up to 10, 12, 14 or 16 bits. A warning is
    logged where the values use less than a tenth of the range.

    Args:
        names: The files of the collection, by name.
        encoded: The number of a file to where its bytes are.
        white: The white point, if it is given.

    Returns:
        The levels; None if no file of the sample has 16 bits.
    """
    wide = [i for i, name in enumerate(names) if os.path.splitext(name)[1].lower() in WIDE]
    chosen = np.unique(np.linspace(0, len(wide) - 1, min(MAX_OPENED, len(wide))).astype(int))
    ranges: list[tuple[float, float]] = []
    values: list[np.ndarray] = []
    colours: list[int] = []
    budget = MAX_PIXELS_DECODED
    for file in (wide[number] for number in chosen):
        if len(ranges) + len(colours) == MAX_DECODED or budget <= 0:
            break
        try:
            with open_image(encoded(file)) as image:
                layout = str(image.tile[0][3]) if image.tile else ""
                is_grey = image.mode.startswith("I")
                if image.width * image.height > budget or not (is_grey or ";16" in layout):
                    continue
                budget -= image.width * image.height
                image.load()
                if is_grey:
                    ranges.append(value_range(image))
                    values += [strip.ravel()[::97] for _, strip in strips(image)]
                else:
                    colours.append(int(np.asarray(image.convert("RGB")).max()))
        except (*FAILURES, UnreadableImageError):
            continue  # reported where it is read
    if colours and max(colours) < FEW * 255:
        logger.warning(
            f"the 16-bit colour images use less than a tenth of their range (the brightest value "
            f"in a sample of {len(colours)} is {max(colours)} of 255): they are nearly black. "
            "--white is for grey values only; convert them to 8 bits"
        )
    lowest = min((low for low, _ in ranges), default=0)
    highest = max((high for _, high in ranges), default=0)
    levels = Levels.covering(int(lowest), int(highest)) if ranges else None
    if white is not None:
        levels = Levels(min(0, levels.black) if levels else 0, white, is_given=True)
    if levels is not None and ranges:
        bright = float(np.percentile(np.concatenate(values), 99.9))
        used = (bright - levels.black) / (levels.white - levels.black)
        if used < FEW:
            hint = "another --white" if white is not None else "--white"
            logger.warning(
                f"the 16-bit images use {max(used, 0):.1%} of the range from black "
                f"({levels.black:.0f}) to white ({levels.white:.0f}; the highest value in a sample "
                f"of {len(ranges)} is {highest:.0f}): they are nearly black. Give {hint}, such as "
                f"--white {max(1, round(bright))}"
            )
    return levels
