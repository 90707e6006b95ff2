"""Lossless turned copies of image files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageFile, PngImagePlugin

from quarterturn.data.encoded_image import EncodedImage, open_bytes
from quarterturn.data.exif import ExifError, turned_orientation, with_orientation
from quarterturn.data.image_file import (
    FAILURES,
    SIDEWAYS,
    TO_UPRIGHT,
    UnreadableImageError,
    open_image,
    orientation_of,
    read_image,
    reason_of,
)
from quarterturn.files import replacing

BY_ORIENTATION = frozenset({"JPEG", "MPO"})
"""Formats, by Pillow's names, that are turned by their EXIF orientation; MPO, written by phones, is
a JPEG file followed by more images."""
BY_PIXELS = frozenset({"PNG", "TIFF", "WEBP", "BMP", "PPM", "GIF"})
"""Formats that Pillow can write losslessly."""

TURNS = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
"""By quarter turns, counter-clockwise."""

_COPIED_TAGS = frozenset(
    {
        ExifTags.Base.ImageDescription,
        ExifTags.Base.Make,
        ExifTags.Base.Model,
        ExifTags.Base.Software,
        ExifTags.Base.DateTime,
        ExifTags.Base.Artist,
        ExifTags.Base.Copyright,
        ExifTags.IFD.Exif,
        ExifTags.IFD.GPSInfo,
    }
)
"""EXIF tags about the image itself; others in a TIFF file's directory describe its pixel layout."""


class CannotTurnError(Exception):
    """A file that cannot be turned losslessly; the message is only the reason."""


def write_turned(source: EncodedImage, target: Path, turns: int) -> None:
    """Write a turned copy of an image file.

    JPEG files get another EXIF orientation, and all other bytes stay the same. Other formats get
    turned pixels in the same format and mode, with colour profile, resolution, EXIF and a PNG's
    texts; a lossy WebP becomes a larger, lossless one. The copy is read back before it is moved
    into place: it has the same pixels, or it is not written.

    Args:
        source: The file, or its bytes.
        target: The copy; an existing file is replaced.
        turns: Quarter turns, counter-clockwise.

    Raises:
        CannotTurnError: The format, its bit depth, several images in one file, or damage prevents
            it.
    """
    try:
        copy = _turned(source, turns)
    except ExifError as error:
        raise CannotTurnError(str(error)) from error
    except UnreadableImageError as error:
        raise CannotTurnError(str(error)) from error
    except FAILURES as error:
        raise CannotTurnError(reason_of(source, error)) from error
    with replacing(target) as partial:
        partial.write_bytes(copy)
        if not _shows_turned(partial, source, turns):
            raise CannotTurnError("the turned copy would not have the same pixels")


def _turned(source: EncodedImage, turns: int) -> bytes:
    with open_image(source) as image:
        if image.format in BY_ORIENTATION:
            orientation = turned_orientation(orientation_of(image), turns)
            with open_bytes(source) as file:
                return with_orientation(file.read(), orientation)
        if image.format not in BY_PIXELS:
            raise CannotTurnError(f"{image.format} files cannot be turned without loss")
        if (frames := getattr(image, "n_frames", 1)) > 1:
            raise CannotTurnError(f"it holds {frames} images, and only the first was read")
        if _is_deeper_than_read(image):
            raise CannotTurnError("it has more bits per value than the copy would keep")
        return _with_turned_pixels(image, turns)


def _is_deeper_than_read(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow changes values on reading: 16-bit colours, PPMs with another white level."""
    layout = image.tile[0][3] if image.tile else ""  # as "RGB;16B", or within a tuple
    if image.format == "PPM":
        white = layout[-1] if isinstance(layout, tuple) else None
        return isinstance(white, int) and white not in (255, -1)  # -1: floats, from the bottom up
    is_wide = image.mode.startswith(("I", "F"))
    return image.format in ("PNG", "TIFF") and not is_wide and ";16" in str(layout)


def _with_turned_pixels(image: Image.Image, turns: int) -> bytes:
    options: dict[str, Any] = {"format": image.format}
    sideways = (orientation_of(image) in SIDEWAYS) != (turns % 2 == 1)
    image.load()
    exif = _exif_of(image)
    turned = image
    for transpose in (TO_UPRIGHT.get(orientation_of(image)), TURNS[turns % 4]):
        turned = turned if transpose is None else turned.transpose(transpose)
    if exif:
        options["exif"] = exif.tobytes()  # as an object, its inner directories fail in a TIFF file
    if profile := image.info.get("icc_profile"):
        options["icc_profile"] = profile
    if dpi := image.info.get("dpi"):
        options["dpi"] = dpi[::-1] if sideways else dpi
    if image.format == "TIFF":
        options["compression"] = image.info.get("compression")
    if image.format == "WEBP":
        options |= {"lossless": True, "exact": True}
    if isinstance(image, PngImagePlugin.PngImageFile):
        options["pnginfo"] = _texts_of(image)
    buffer = io.BytesIO()
    turned.save(buffer, **options)
    return buffer.getvalue()


def _exif_of(image: Image.Image) -> Image.Exif:
    """The EXIF to copy, for a copy with upright pixels."""
    original, copied = image.getexif(), Image.Exif()
    for tag in _COPIED_TAGS & original.keys():
        copied[tag] = original.get_ifd(tag) if tag in ExifTags.IFD else original[tag]
    return copied


def _texts_of(image: PngImagePlugin.PngImageFile) -> PngImagePlugin.PngInfo:
    texts = PngImagePlugin.PngInfo()
    for name, text in image.text.items():
        if name != "XML:com.adobe.xmp":  # may hold an orientation, which no longer applies
            texts.add_itxt(name, text)
    return texts


def _shows_turned(copy: Path, source: EncodedImage, turns: int) -> bool:
    try:
        turned, original = np.asarray(read_image(copy)), np.asarray(read_image(source))
    except UnreadableImageError as error:
        raise CannotTurnError(str(error)) from error
    return np.array_equal(turned, np.rot90(original, turns))
