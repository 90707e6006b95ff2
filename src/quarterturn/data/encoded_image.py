"""Where the bytes of an image are: in a file of their own, or in memory."""

from __future__ import annotations

from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path


@dataclass(frozen=True)
class ImageBytes:
    """The contents of an image file, such as of a member of an archive.

    Attributes:
        name: What the file is called in messages, without folders.
        content: Its bytes.
    """

    name: str
    content: bytes


EncodedImage = Path | ImageBytes
"""An image that is not decoded yet."""


def open_bytes(image: EncodedImage) -> BufferedReader | BytesIO:
    """The bytes of an encoded image, to be read from the beginning."""
    return image.open("rb") if isinstance(image, Path) else BytesIO(image.content)
