"""Decode one image file, or its bytes, to upright 8-bit RGB."""

from __future__ import annotations

import errno
import math
import os
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from PIL import (
    ExifTags,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
)

from quarterturn.config.shared import MAX_PIXELS
from quarterturn.data.encoded_image import EncodedImage, ImageBytes, open_bytes
from quarterturn.data.wide_values import Levels, to_8bit

READABLE = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".jp2"}
    | ({".avif"} if find_spec("PIL._avif") else set())  # Pillow 11.3 and newer, as a rule
)
"""Suffixes of readable image files, in lower case."""

UNSUPPORTED = (
    frozenset({".avif", ".jxl", ".psd", ".tga", ".exr", ".dcm", ".j2k", ".jpf"})
    | frozenset({".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"})
) - READABLE
"""Suffixes of image files that are not read here, in lower case."""

NOT_A_FILE = "not a regular file"

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


@dataclass(frozen=True)
class Decoding:
    """How the files of a collection are decoded.

    Attributes:
        levels: Black and white point of 16-bit values; None for those of each file by itself.
        max_pixels: Larger images are refused.
    """

    levels: Levels | None = None
    max_pixels: int = MAX_PIXELS


AS_THEY_ARE = Decoding()
"""Each file by itself, up to the default size."""


class _QuietPillow:
    """Pillow without its own limit of pixels and its warnings while files are open here.

    Its limit, one for the whole process, warns about images that are allowed here, and refuses what
    ``--max-pixels`` allows. Its warnings are about damaged metadata in readable images. Both are as
    before once no thread has a file open.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._limit: int | None = None
        self._warnings = warnings.catch_warnings()

    @contextmanager
    def entered(self) -> Iterator[None]:
        with self._lock:
            if self._depth == 0:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    Image.MAX_IMAGE_PIXELS = self._limit
                    self._warnings.__exit__(None, None, None)


_quiet_pillow = _QuietPillow()


@contextmanager
def open_image(file: EncodedImage, max_pixels: int | None = None) -> Iterator[ImageFile.ImageFile]:
    """Open an image file, of which Pillow reads the header.

    Args:
        file: The file, or its bytes.
        max_pixels: Refuse larger images; None for no limit.

    Raises:
        UnreadableImageError: It is no regular file, such as a pipe, which would never end; or has
            too many pixels. Pillow's own errors, for a damaged file, are `FAILURES`.
    """
    source: Path | BytesIO
    if isinstance(file, ImageBytes):
        source = BytesIO(file.content)
    elif (reason := irregular(os.stat(file))) is not None:
        raise UnreadableImageError(reason)
    else:
        source = file
    with _quiet_pillow.entered(), Image.open(source) as image:
        if max_pixels is not None and (reason := too_large(*image.size, max_pixels)):
            raise UnreadableImageError(reason)
        yield image


def irregular(about: os.stat_result) -> str | None:
    """Why something is no file to read from, such as a folder, pipe, socket or device."""
    if stat.S_ISREG(about.st_mode):
        return None
    return os.strerror(errno.EISDIR) if stat.S_ISDIR(about.st_mode) else NOT_A_FILE


def too_large(width: int, height: int, max_pixels: int) -> str | None:
    """Why an image is refused for its size; None if it is not."""
    if width * height <= max_pixels:
        return None
    return f"{width:,} x {height:,} pixels are more than --max-pixels {max_pixels}"


Size = tuple[int, int]
"""Upright height and width in pixels."""

Shrink = Callable[[Size], float]
"""Largest factor by which each side of a decoded image may be smaller than the original."""


def read_size(file: EncodedImage) -> Size:
    """Upright (height, width) in pixels, from the file's header.

    Raises:
        UnreadableImageError: The header is not that of an image.
    """
    try:
        with open_image(file) as image:
            width, height = image.size
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                # Pillow has already swapped the two of a sideways TIFF; these are as stored.
                width = image.tag_v2[TiffImagePlugin.IMAGEWIDTH]
                height = image.tag_v2[TiffImagePlugin.IMAGELENGTH]
            if isinstance(image, PngImagePlugin.PngImageFile) and not has_exif(image, file):
                return height, width  # asking Pillow would decode the whole image
            return _upright_size(image, (height, width))
    except FAILURES as error:
        raise UnreadableImageError(reason_of(file, error)) from error


def read_image(
    file: EncodedImage, shrink: float = 1.0, decoding: Decoding = AS_THEY_ARE
) -> Image.Image:
    """`read_upright` where the factor does not depend on the size; 1 is full size."""
    return read_upright(file, lambda size: shrink, decoding)[0]


def read_upright(
    file: EncodedImage, shrink: Shrink, decoding: Decoding = AS_THEY_ARE
) -> tuple[Image.Image, Size]:
    """Decode a file to an upright 8-bit RGB image.

    The EXIF orientation is applied. Grey, palette, CMYK and other modes are converted; transparent
    pixels become white; 16-bit values are scaled, not clipped.

    Args:
        file: The file, or its bytes.
        shrink: By how much it may be shrunk. JPEGs are then decoded at 1/2, 1/4 or 1/8 of their
            size, which is much faster.
        decoding: Levels of 16-bit values, and the largest image.

    Returns:
        The image, and its size before it was shrunk.

    Raises:
        UnreadableImageError: The file is truncated, damaged, too large, or no image.
    """
    try:
        with open_image(file, decoding.max_pixels) as image:
            size = None
            if isinstance(image, JpegImagePlugin.JpegImageFile):
                width, height = image.size
                size = _upright_size(image, (height, width))
                if (factor := shrink(size)) > 1:
                    smaller = (math.ceil(width / factor), math.ceil(height / factor))
                    image.draft(image.mode, smaller)
            image.load()
            upright = upright_rgb(image, decoding.levels)
            return upright, size or (upright.height, upright.width)
    except FAILURES as error:
        raise UnreadableImageError(reason_of(file, error)) from error


def _upright_size(image: Image.Image, stored: Size) -> Size:
    height, width = stored
    return (width, height) if orientation_of(image) in SIDEWAYS else (height, width)


def upright_rgb(image: Image.Image, levels: Levels | None = None) -> Image.Image:
    """Any Pillow image as RGB, with its EXIF orientation applied."""
    # Not ImageOps.exif_transpose: it rewrites the metadata, and fails if they are damaged although
    # the image is intact.
    transpose = TO_UPRIGHT.get(orientation_of(image))
    rgb = to_rgb(image, levels)
    return rgb if transpose is None else rgb.transpose(transpose)


def to_rgb(image: Image.Image, levels: Levels | None = None) -> Image.Image:
    """Any Pillow image as RGB, without applying its EXIF orientation."""
    if image.mode.startswith(("I", "F")):
        return to_8bit(image, levels).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it


def has_exif(image: PngImagePlugin.PngImageFile, encoded: EncodedImage) -> bool:
    """Whether a PNG file may have an orientation, before or after its pixels, by chunk headers."""
    if {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"} & image.info.keys():
        return True
    with open_bytes(encoded) as file:
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


def reason_of(path: EncodedImage, error: Exception) -> str:
    """Why a file cannot be read, without the folders of its path."""
    if isinstance(path, ImageBytes):
        if not path.content:
            return "the file is empty"
        if isinstance(error, UnidentifiedImageError):  # Pillow would name an object in memory
            return _known_format(path) or f"cannot identify image file {path.name!r}"
        return str(error) or type(error).__name__
    try:
        about = os.stat(path)
    except OSError as cannot_stat:
        return cannot_stat.strerror or "cannot be opened"
    if (reason := irregular(about)) is not None:
        return reason
    if about.st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError) and (known := _known_format(path)):
        return known
    # Pillow formats the path with %r, which may escape some characters.
    shown, name = repr(str(path))[1:-1], repr(path.name)[1:-1]
    return str(error).replace(shown, name).replace(str(path), path.name) or type(error).__name__


def _known_format(encoded: EncodedImage) -> str | None:
    """The format of an image that Pillow does not know, whatever the file is called."""
    try:
        with open_bytes(encoded) as file:
            head = file.read(64)
    except OSError:
        return None
    if head[4:8] == b"ftyp":
        brands = head[8 : int.from_bytes(head[:4], "big")]
        if b"avif" in brands or b"avis" in brands:
            return "an AVIF file; it is read by Pillow 11.3 or newer"
        if head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
            return "a HEIC file under another name; to read it: pip install 'quarterturn[heic]'"
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "a JPEG XL file; convert it to PNG, TIFF or JPEG"
    return None
