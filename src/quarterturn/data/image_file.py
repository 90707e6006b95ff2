"""Decode one image file to upright 8-bit RGB."""

from __future__ import annotations

import math
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

READABLE = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2"}
)
"""Suffixes of readable image files, in lower case."""

HEIC = frozenset({".heic", ".heif", ".hif"})
"""Suffixes of image files that need the extra ``heic``."""

TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to the operation that turns the stored pixels upright."""

SIDEWAYS = frozenset({5, 6, 7, 8})
"""EXIF orientations in which the stored width is the upright height."""


@cache
def heic_is_readable() -> bool:
    """Whether the ``heic`` extra is installed; registers it with Pillow."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


class UnreadableImageError(Exception):
    """A file that is not a complete image; the message is only the reason."""


def read_size(path: Path) -> tuple[int, int]:
    """Upright (height, width) in pixels, from the file's header.

    Raises:
        UnreadableImageError: The header is not that of an image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                # Pillow has already swapped the two of a sideways TIFF; these are as stored.
                width = image.tag_v2[TiffImagePlugin.IMAGEWIDTH]
                height = image.tag_v2[TiffImagePlugin.IMAGELENGTH]
            if isinstance(image, PngImagePlugin.PngImageFile) and not _has_exif(image, path):
                return height, width  # asking Pillow would decode the whole image
            return (width, height) if orientation_of(image) in SIDEWAYS else (height, width)
    except FAILURES as error:
        raise UnreadableImageError(reason_of(path, error)) from error


def read_image(path: Path, shrink: float = 1.0) -> Image.Image:
    """Decode a file to an upright 8-bit RGB image.

    The EXIF orientation is applied. Grey, palette, CMYK and other modes are converted; transparent
    pixels become white; 16-bit values are scaled, not clipped.

    Args:
        path: The file.
        shrink: Largest factor by which each side of the result may be smaller than the original.
            JPEGs are then decoded at 1/2, 1/4 or 1/8 of their size, which is much faster.

    Raises:
        UnreadableImageError: The file is truncated, damaged, or no image.
    """
    try:
        with Image.open(path) as image:
            if shrink > 1:
                width, height = image.size
                image.draft(image.mode, (math.ceil(width / shrink), math.ceil(height / shrink)))
            image.load()
            return upright_rgb(image)
    except FAILURES as error:
        raise UnreadableImageError(reason_of(path, error)) from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as RGB, with its EXIF orientation applied."""
    # Not ImageOps.exif_transpose: it rewrites the metadata, and fails if they are damaged although
    # the image is intact.
    transpose = TO_UPRIGHT.get(orientation_of(image))
    rgb = to_rgb(image)
    return rgb if transpose is None else rgb.transpose(transpose)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as RGB, without applying its EXIF orientation."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_8bit(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _has_exif(image: PngImagePlugin.PngImageFile, path: Path) -> bool:
    """Whether a PNG file may have an orientation, before or after its pixels, by chunk headers."""
    if {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"} & image.info.keys():
        return True
    with open(path, "rb") as file:
        file.seek(8)  # the signature
        while len(header := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", header)
            if kind in (b"eXIf", b"iTXt", b"zTXt"):  # the latter two may hold XMP or EXIF
                return True
            file.seek(length + 4, 1)  # the chunk and its checksum
    return False


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of an open image; 1 (upright) if it has none."""
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _to_8bit(values: np.ndarray) -> np.ndarray:
    """Scale wide integers and floats to 0..255.

    16-bit values are divided by 257, so that 65535 becomes 255. Wider integers, and floats beyond
    [0, 1], have no standard white level: their maximum becomes 255. Values that are not finite,
    which mark missing measurements, become 0.
    """
    values = np.where(np.isfinite(values), values, 0)
    largest = float(values.max(initial=0))
    standard_white = 65535.0 if np.issubdtype(values.dtype, np.integer) else 1.0
    white = max(standard_white, largest)
    return np.round(np.clip(values, 0, None) * (255.0 / white)).astype(np.uint8)


# Errors that Pillow raises on damaged or hostile files; they have no common base class.
FAILURES = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def reason_of(path: Path, error: Exception) -> str:
    """Why a file cannot be read, without the folders of its path."""
    try:
        if path.stat().st_size == 0:
            return "the file is empty"
    except OSError as cannot_stat:
        return cannot_stat.strerror or "cannot be opened"
    # Pillow formats the path with %r, which may escape some characters.
    shown, name = repr(str(path))[1:-1], repr(path.name)[1:-1]
    return str(error).replace(shown, name).replace(str(path), path.name) or type(error).__name__
