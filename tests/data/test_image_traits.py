from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quarterturn.data.encoded_image import ImageBytes
from quarterturn.data.image_traits import NONE, ImageTraits, read_traits

COLOUR = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
WIDE = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8))


def encoded(image: Image.Image, kind: str, **options: Any) -> ImageBytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return ImageBytes("x", buffer.getvalue())


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (encoded(COLOUR, "PNG"), NONE),
        (encoded(COLOUR, "JPEG", exif=turned(1)), NONE),
        (encoded(COLOUR, "JPEG", exif=turned(6)), ImageTraits.TURNED),
        (encoded(COLOUR, "PNG", exif=turned(2)), ImageTraits.TURNED),
        (encoded(COLOUR.convert("CMYK"), "JPEG"), ImageTraits.CMYK),
        (encoded(COLOUR.convert("RGBA"), "PNG"), ImageTraits.TRANSPARENT),
        (encoded(COLOUR.convert("P"), "PNG"), ImageTraits.PALETTE),
        (encoded(WIDE, "PNG"), ImageTraits.WIDE),
        (encoded(COLOUR, "TIFF", save_all=True, append_images=[COLOUR]), ImageTraits.PAGES),
        (encoded(COLOUR, "TIFF", save_all=True), NONE),
        (encoded(COLOUR, "MPO", save_all=True, append_images=[COLOUR]), NONE),
        (
            encoded(COLOUR, "PNG", save_all=True, append_images=[COLOUR.rotate(90)]),
            ImageTraits.ANIMATED,
        ),
        (ImageBytes("x", b"no image"), NONE),
    ],
)
def test_traits_of_files(file: ImageBytes, expected: ImageTraits) -> None:
    assert read_traits(file) == expected
