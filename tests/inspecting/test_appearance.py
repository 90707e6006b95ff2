from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from quarterturn.inspecting.appearance import SIDE, appearance, reduced
from quarterturn.inspecting.findings import BLANK_SPREAD, BLURRED_SHARPNESS, DARK_BRIGHTNESS
from tests.inspecting.ward import healthy


def test_figures_of_known_pixels() -> None:
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10] = (200, 100, 0)
    found = appearance(Image.fromarray(pixels))
    assert found.brightness == Image.fromarray(pixels).convert("L").getpixel((0, 0))
    assert found.spread == pytest.approx(100)
    assert found.colour == pytest.approx(100)
    assert found.sharpness > 0


@pytest.mark.parametrize("level", [0, 127, 255])
def test_one_colour_has_no_spread_and_no_sharpness(level: int) -> None:
    found = appearance(Image.new("RGB", (40, 30), (level,) * 3))
    assert found == (level, 0, 0, 0)
    assert found.spread < BLANK_SPREAD


def test_sharpness_does_not_depend_on_contrast() -> None:
    image = healthy(0, 256, 256)
    faint = Image.eval(image, lambda value: value // 4)
    assert appearance(faint).sharpness == pytest.approx(appearance(image).sharpness, rel=0.05)
    assert appearance(image).brightness > 4 * appearance(faint).brightness - 8
    assert appearance(Image.eval(image, lambda value: value // 8)).brightness < DARK_BRIGHTNESS


def test_blur_lowers_sharpness_below_the_limit() -> None:
    image = healthy(0, 256, 256)
    found = [
        appearance(image.filter(ImageFilter.GaussianBlur(radius))).sharpness
        for radius in (0, 1, 2, 4)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > 2 * BLURRED_SHARPNESS
    assert found[-1] < BLURRED_SHARPNESS / 2


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 80), (100, 80)), ((1024, 512), (512, SIDE)), ((9, 9000), (9, 9000))],
)
def test_large_images_are_reduced_by_their_short_side(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert reduced(Image.new("RGB", size)).size == expected


@pytest.mark.parametrize("size", [(1, 1), (2, 50)])
def test_tiny_images_have_figures(size: tuple[int, int]) -> None:
    assert appearance(Image.new("RGB", size, "red")).sharpness == 0
