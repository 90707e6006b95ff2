from __future__ import annotations

from collections.abc import Callable

import pytest

from quarterturn.data.imageset import ArrayImages


@pytest.fixture
def with_sky(random_images) -> Callable[[int], ArrayImages]:
    """Makes images of noise whose uppermost row is white: which way is up can be seen."""

    def make(number: int) -> ArrayImages:
        images = random_images(number, classes=4)
        images.array //= 2
        images.array[:, 0] = 255
        return images

    return make
