from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from quarterturn.pages.sprite import make_sprite


def coloured(number: int, side: int = 48) -> np.ndarray:
    """(n, T, T, 3), each picture of one colour."""
    colours = np.random.default_rng(0).integers(30, 220, (number, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(colours, (number, side, side, 3)).copy()


@pytest.mark.parametrize("number", [1, 2, 7, 9, 50])
def test_each_picture_is_in_its_place(number: int) -> None:
    pictures = coloured(number)
    sprite = make_sprite(pictures, 10**6)
    sheet = np.asarray(Image.open(io.BytesIO(sprite.jpeg)))
    assert sheet.shape == (sprite.rows * sprite.side, sprite.columns * sprite.side, 3)
    for place in range(number):
        row, column = divmod(place, sprite.columns)
        centre = sheet[round((row + 0.5) * sprite.side), round((column + 0.5) * sprite.side)]
        np.testing.assert_allclose(centre, pictures[place, 0, 0], atol=6)


def test_pictures_are_reduced_until_they_fit(rng: np.random.Generator) -> None:
    pictures = rng.integers(0, 256, (100, 96, 96, 3), dtype=np.uint8)
    large = make_sprite(pictures, 10**9)
    small = make_sprite(pictures, 100_000)
    assert large.side == 96
    assert small.side < 96
    assert len(small.jpeg) <= 100_000 < len(large.jpeg)
    assert make_sprite(pictures, 1).side == 16


def test_no_pictures() -> None:
    sprite = make_sprite(np.empty((0, 96, 96, 3), np.uint8), 1000)
    assert Image.open(io.BytesIO(sprite.jpeg)).width == sprite.side == 96
