"""How one image looks, in four figures: how bright, varied, sharp and coloured it is.

They are taken at a fixed size, about that at which networks see photos: what is blurred in a photo
of 40 megapixels may be sharp in what a training shows of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

SIDE = 256
"""Short side in pixels that larger images are reduced to."""
BRIGHT_SHARE = 0.99
LEVELS = np.arange(256)


class Appearance(NamedTuple):
    """Figures of an image; all but the sharpness in grey levels, from 0 to 255.

    Attributes:
        brightness: The level that 99 % of the pixels do not exceed.
        spread: Standard deviation of the pixels, of the colour channel that has most.
        sharpness: Variance of the Laplacian over the variance of the grey values, which does not
            depend on the contrast: Pertuz et al., "Analysis of focus measure operators", 2013.
        colour: Mean difference between the largest and the smallest of red, green and blue.
    """

    brightness: float
    spread: float
    sharpness: float
    colour: float


def reduced(image: Image.Image) -> Image.Image:
    """An RGB image whose short side is `SIDE` pixels at most."""
    scale = SIDE / min(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def appearance(image: Image.Image) -> Appearance:
    """The figures of an RGB image, as `reduced` gives it."""
    grey = image.convert("L")
    of_grey = np.array(grey.histogram())
    brightness = int(np.searchsorted(of_grey.cumsum(), BRIGHT_SHARE * of_grey.sum()))
    of_channels = np.array(image.histogram()).reshape(3, -1)
    red, green, blue = image.split()
    largest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    smallest = ImageChops.darker(ImageChops.darker(red, green), blue)
    of_colour = np.array(ImageChops.difference(largest, smallest).histogram())
    return Appearance(
        brightness,
        max(_variance(histogram) for histogram in of_channels) ** 0.5,
        _sharpness(grey, _variance(of_grey)),
        float(of_colour @ LEVELS / of_colour.sum()),
    )


def _variance(histogram: NDArray[np.int64]) -> float:
    """Of values from 0 to 255, by how often each occurs."""
    mean = histogram @ LEVELS / histogram.sum()
    return float(histogram @ (LEVELS - mean) ** 2 / histogram.sum())


def _sharpness(grey: Image.Image, variance: float) -> float:
    if min(grey.size) < 3 or variance == 0:
        return 0.0
    pixels = np.asarray(grey, np.float32)
    laplacian = 4 * pixels[1:-1, 1:-1]
    laplacian -= pixels[:-2, 1:-1]
    laplacian -= pixels[2:, 1:-1]
    laplacian -= pixels[1:-1, :-2]
    laplacian -= pixels[1:-1, 2:]
    return float(laplacian.var()) / variance
