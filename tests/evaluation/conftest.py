"""Small images whose contents and turns are known."""

from collections.abc import Callable

import numpy as np
import pytest

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ArrayImages

SIDE = 8


@pytest.fixture
def crop() -> DataConfig:
    """Images as they are: all of each, and values in [-1, 1]."""
    return DataConfig(image_size=SIDE, eval_crop=1.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def noise() -> Callable[..., ArrayImages]:
    """Makes labelled images of noise: (number, side, classes, seed) -> images."""

    def make(number: int, side: int = SIDE, classes: int = 4, seed: int = 0) -> ArrayImages:
        pixels = np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), np.uint8)
        return ArrayImages(
            pixels,
            [f"noise-{i}" for i in range(number)],
            np.arange(number) % classes,
            [f"class {c}" for c in range(classes)],
        )

    return make


@pytest.fixture
def with_sky(noise) -> Callable[[int], ArrayImages]:
    """Makes images of noise whose uppermost row is white: which way is up can be seen."""

    def make(number: int) -> ArrayImages:
        images = noise(number)
        images.pixels //= 2
        images.pixels[:, 0] = 255
        return images

    return make
