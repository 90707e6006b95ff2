"""What a file says of its image beside the pixels: orientation, frames, and how values are kept."""

from __future__ import annotations

from contextlib import suppress
from enum import IntFlag

from PIL import Image, ImageFile, PngImagePlugin

from quarterturn.data.encoded_image import EncodedImage
from quarterturn.data.image_file import (
    FAILURES,
    TO_UPRIGHT,
    UnreadableImageError,
    has_exif,
    open_image,
    orientation_of,
)


class ImageTraits(IntFlag):
    """What is special about a file."""

    TURNED = 1
    """Its EXIF orientation turns or mirrors what is stored; it is applied on reading."""
    ANIMATED = 2
    """It has several frames, of which the first is read."""
    PAGES = 4
    """It has several pages, of which the first is read."""
    WIDE = 8
    """Its values have more than 8 bits."""
    CMYK = 16
    """Its colours are those of print."""
    TRANSPARENT = 32
    """It has transparency, which is shown on white."""
    PALETTE = 64
    """Its colours are those of a palette."""


NONE = ImageTraits(0)
OF_PAGES, OF_VIEWS = "TIFF", "MPO"
"""Formats whose frames are pages, or a camera's further views and previews of the same picture."""


def read_traits(file: EncodedImage) -> ImageTraits:
    """What is special about an image file, by its header; nothing where that is damaged."""
    with suppress(*FAILURES, UnreadableImageError), open_image(file) as image:
        return _of_values(image) | _of_frames(image) | _of_exif(image, file)
    return NONE


def _of_values(image: ImageFile.ImageFile) -> ImageTraits:
    layout = str(image.tile[0][3]) if image.tile else ""
    is_wide = image.mode.startswith(("I", "F")) or ";16" in layout
    traits = ImageTraits.WIDE if is_wide else NONE
    if image.mode == "CMYK":
        traits |= ImageTraits.CMYK
    if image.mode == "P":
        traits |= ImageTraits.PALETTE
    if image.has_transparency_data:
        traits |= ImageTraits.TRANSPARENT
    return traits


def _of_frames(image: Image.Image) -> ImageTraits:
    if image.format == OF_VIEWS or not getattr(image, "is_animated", False):
        return NONE
    return ImageTraits.PAGES if image.format == OF_PAGES else ImageTraits.ANIMATED


def _of_exif(image: ImageFile.ImageFile, file: EncodedImage) -> ImageTraits:
    if isinstance(image, PngImagePlugin.PngImageFile) and not has_exif(image, file):
        return NONE  # asking Pillow would decode the whole image
    return ImageTraits.TURNED if orientation_of(image) in TO_UPRIGHT else NONE
