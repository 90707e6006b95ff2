"""Which images are exact copies of each other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from quarterturn.data.encoded_image import open_bytes
from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.imageset import ArrayImages, FileImages, ImageSet
from quarterturn.data.pixel_cache import HEIGHT, CachedImages


def content_keys(sets: Sequence[ImageSet]) -> list[list[bytes]]:
    """A key for each image of several sets, such as splits; exact copies have the same.

    Files are compared by content, read only if another file has the same size, or sizes are not
    known; arrays by pixels. A file that cannot be read has a key of its own.
    """
    files = [images for images in sets if isinstance(images, FileImages)]
    num_of_size = Counter(size for images in files for size in images.num_bytes.tolist())
    return [_keys(images, number, num_of_size) for number, images in enumerate(sets)]


def _keys(images: ImageSet, number: int, num_of_size: Counter[int]) -> list[bytes]:
    if isinstance(images, ArrayImages):
        rows = range(len(images)) if images.rows is None else images.rows
        return [hashlib.sha256(images.array[row].tobytes()).digest() for row in rows]
    if isinstance(images, FileImages):
        is_read = not images.table.knows_sizes
        return [
            _content_hash(images, index)
            if is_read or num_of_size[size] > 1
            else b"unique %d %d" % (number, index)
            for index, size in enumerate(images.num_bytes.tolist())
        ]
    if isinstance(images, CachedImages):
        return [row.tobytes() for row in images.rows[:, HEIGHT:]]
    return [b"unique %d %d" % (number, index) for index in range(len(images))]


def _content_hash(images: FileImages, index: int) -> bytes:
    try:
        with open_bytes(images.encoded(index)) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except (OSError, UnreadableImageError):
        return b"unreadable " + str(images.path(index)).encode(errors="surrogateescape")
