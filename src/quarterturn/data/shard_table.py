"""Images that lie in shards: many in one ``.tar`` or ``.parquet`` file, each read where it lies.

Shapes: N images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.encoded_image import ImageBytes
from quarterturn.data.file_table import HEIGHT, FileTable, Rows, Stat
from quarterturn.data.image_file import UnreadableImageError

MAX_BLOCKS, MAX_BLOCK_BYTES = 64, 512_000_000
"""Blocks, and their bytes, that are read for a sample of headers; at least one block is."""


class Block(NamedTuple):
    """What has to be read to have one image.

    Attributes:
        number: Its number within the shard.
        num_bytes: Its size.
        is_shared: Whether it holds other images too.
    """

    number: int
    num_bytes: int
    is_shared: bool


class Shard(Protocol):
    """One file of many images; places count its images from 0."""

    knows_sizes: ClassVar[bool]
    """Whether the sizes of its images are known before they are read."""

    @property
    def path(self) -> str:
        """Where it is, an absolute path."""

    def content(self, place: int) -> bytes:
        """The image file at a place.

        Raises:
            UnreadableImageError: It cannot be read, or the shard has changed since it was indexed.
        """

    def block(self, place: int) -> Block:
        """What `content` reads."""


@dataclass
class ShardTable(FileTable):
    """Images of shards, in the order of the shards and of the images within them.

    An image is called by its shard and by its name there, ``photos-000.tar/kitchen/7.jpg``. Its
    times are the shard's. Its size in bytes is its own in a ``.tar`` file; in a ``.parquet`` file,
    where it cannot be known without reading the image, a checksum of the file's metadata stands for
    it.

    Attributes:
        shards: The shards.
        shard_of: (N,) number of each image's shard.
        places: (N,) its place in the shard.
    """

    shards: Sequence[Shard]
    shard_of: NDArray[np.int64]
    places: NDArray[np.int64]

    are_files: ClassVar[bool] = False

    @property
    def knows_sizes(self) -> bool:
        """Whether sizes in bytes are those of the images, as they are in archives."""
        return all(shard.knows_sizes for shard in self.shards)

    def encoded(self, number: int) -> ImageBytes:
        """The bytes of an image, taken out of its shard.

        Raises:
            UnreadableImageError: They cannot be read, or the shard has changed.
        """
        shard = self.shards[self.shard_of[number]]
        name = PurePosixPath(self.names[number]).name
        return ImageBytes(name, shard.content(int(self.places[number])))

    def stat(self, number: int) -> Stat:
        """Size and times when the shard was indexed; `encoded` notices when it has changed."""
        num_bytes, modified_ns, changed_ns = self.rows[number, :HEIGHT].tolist()
        return num_bytes, modified_ns, changed_ns

    def stats(self, numbers: Sequence[int], missing: dict[int, str]) -> Rows:
        """(n, 3) `stat` of several; none is missing."""
        return self.rows[numbers, :HEIGHT]

    def spared(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """One of the images in each block that may be read for a sample.

        To read one image of a ``.parquet`` file is to read the hundred or thousand around it, so a
        sample of a thousand would read much of the collection.
        """
        chosen, blocks, num_bytes = [], set[tuple[int, int]](), 0
        is_sample = len(numbers) < len(self.names)
        # The numbers are ascending; a stride through them is as random as they are.
        for number in numbers.tolist() if not is_sample else _strided(numbers):
            shard = int(self.shard_of[number])
            block = self.shards[shard].block(int(self.places[number]))
            if is_sample and block.is_shared:
                is_read = (shard, block.number) in blocks
                is_enough = len(blocks) == MAX_BLOCKS or num_bytes >= MAX_BLOCK_BYTES
                if is_read or is_enough:
                    continue
                blocks.add((shard, block.number))
                num_bytes += block.num_bytes
            chosen.append(number)
        return np.sort(np.array(chosen, np.int64))


def _strided(numbers: NDArray[np.int64]) -> list[int]:
    """The numbers in an order whose beginning is spread over all of them."""
    return [number for start in range(MAX_BLOCKS) for number in numbers[start::MAX_BLOCKS].tolist()]


def inner_name(name: str) -> str | None:
    """A name within a shard in its shortest form; None for one that leads out of the shard."""
    path = PurePosixPath(name)  # leaves out "./" and repeated slashes
    is_inside = not path.is_absolute() and ".." not in path.parts and "\0" not in name
    return str(path) if path.parts and is_inside else None


def version_of(about: os.stat_result) -> tuple[int, int]:
    """Size in bytes and modification time, by which a shard is known to be the same."""
    return about.st_size, about.st_mtime_ns


def changed(path: str) -> UnreadableImageError:
    """The error of an image whose shard is not what it was when it was indexed."""
    return UnreadableImageError(
        f"{os.path.basename(path)} has changed since it was indexed; start the command again"
    )
