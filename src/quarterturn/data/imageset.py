"""One indexed data set behind every source of images.

Shapes: N images, numbered 0..N-1 for the whole run; H, W their height and width.
"""

from __future__ import annotations

import functools
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quarterturn.data.encoded_image import EncodedImage
from quarterturn.data.file_table import (
    BYTES,
    CHANGED_NS,
    HEIGHT,
    MODIFIED_NS,
    NOT_ASKED,
    WIDTH,
    FileTable,
    Stat,
)
from quarterturn.data.image_file import AS_THEY_ARE, Decoding, Shrink, Size, read_upright
from quarterturn.data.label_sets import LabelSets
from quarterturn.data.wide_values import Levels

HASHED_AT_ONCE = 4096
"""Images in memory that a fingerprint takes in at a time."""

Seen = tuple[int, Size, Stat]
"""An image that has been read: its number, its size, and what `ImageSet.stat` said before."""


class ImageSet(ABC):
    """N images under fixed numbers.

    Attributes:
        names: (N,) name of each image, relative to the source.
        labels: (N,) int64 classes, or None. Only probes and supervised training read them.
        label_sets: (N, C) of images with several labels each, in place of ``labels``; see
            `quarterturn.data.label_sets`.
        class_names: Names of the classes; empty without labels.
        unlabelled: Why there are no labels, if some were expected.
    """

    names: Sequence[str]
    labels: NDArray[np.int64] | None
    label_sets: LabelSets | None
    class_names: list[str]
    unlabelled: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def are_files(self) -> bool:
        """Whether each image is a file of its own, which can be copied."""
        return False

    @property
    def targets(self) -> NDArray[Any] | None:
        """What a classifier is to say of each image: (N,) classes or (N, C) label sets, or None."""
        return self.labels if self.label_sets is None else self.label_sets

    @property
    @abstractmethod
    def sizes(self) -> NDArray[np.int64]:
        """(N, 2) upright height and width in pixels; 0 where they are not known yet."""

    @abstractmethod
    def read_sized(self, index: int, shrink: Shrink) -> tuple[Image.Image, Size]:
        """Image ``index``, upright, RGB, and its size before it was shrunk; see `read_upright`."""

    def read(self, index: int, shrink: float = 1.0) -> Image.Image:
        """Image ``index``, upright, RGB; see `read_image`."""
        return self.read_sized(index, lambda size: shrink)[0]

    def stat(self, index: int) -> Stat:
        """Size in bytes and times of image ``index``, as they are now."""
        return 0, 0, 0

    def note(self, seen: Sequence[Seen]) -> set[int]:
        """Take note of images that have been read.

        Returns:
            Numbers of those whose files are not what they were when they were first seen.
        """
        return set()

    @abstractmethod
    def subset(self, indices: NDArray[np.int64]) -> ImageSet:
        """The images ``indices`` under new numbers 0..n-1, in the given order."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A short hash that tells one collection of images from another."""

    def identity(self, index: int, data: str) -> str:
        """An identifier of one image that is the same wherever the image turns up.

        It keeps images that were trained on out of tests, whatever path leads to them.

        Args:
            index: The image's number.
            data: DATA that the images are from, as `quarterturn.data.data_argument.locate` has it.
        """
        return f"{data}:{self.names[index]}"

    def identities(self, data: str) -> set[str]:
        """`identity` of every image."""
        return {self.identity(index, data) for index in range(len(self))}


@dataclass
class ArrayImages(ImageSet):
    """Small images of one size, in memory.

    Args:
        array: (M, H, W, 3) uint8, shared with other subsets of the images: a copy of a million
            images is as large as they are.
        rows: (N,) the images' rows in the array; None for all of them, in order.
    """

    array: NDArray[np.uint8]
    names: Sequence[str]
    labels: NDArray[np.int64] | None = None
    class_names: list[str] = field(default_factory=list)
    unlabelled: str = ""
    label_sets: LabelSets | None = None
    rows: NDArray[np.int64] | None = None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """(N, H, W, 3) uint8; a copy where the images are a subset of others."""
        return self.array if self.rows is None else self.array[self.rows]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(N, 2) height and width."""
        return np.broadcast_to(np.array(self.array.shape[1:3]), (len(self), 2))

    def read_sized(self, index: int, shrink: Shrink) -> tuple[Image.Image, Size]:
        """Image ``index`` as a Pillow image, never shrunk."""
        height, width = self.array.shape[1:3]
        row = index if self.rows is None else self.rows[index]
        return Image.fromarray(self.array[row]), (height, width)

    def subset(self, indices: NDArray[np.int64]) -> ArrayImages:
        """These images under new numbers."""
        return ArrayImages(
            self.array,
            [self.names[i] for i in indices],
            None if self.labels is None else self.labels[indices],
            self.class_names,
            self.unlabelled,
            None if self.label_sets is None else self.label_sets[indices],
            np.arange(len(self.array))[indices] if self.rows is None else self.rows[indices],
        )

    def fingerprint(self) -> str:
        """Hash of the shape and all pixels."""
        digest = hashlib.sha256(str((len(self), *self.array.shape[1:])).encode())
        for first in range(0, len(self), HASHED_AT_ONCE):
            part = slice(first, first + HASHED_AT_ONCE)
            pixels = self.array[part if self.rows is None else self.rows[part]]
            digest.update(np.ascontiguousarray(pixels).data)
        return digest.hexdigest()[:16]


@dataclass
class FileImages(ImageSet):
    """Image files, in a folder or in shards, decoded when they are read.

    Args:
        root: The folder that the names are relative to.
        table: What is known of the files, and where they are; shared with other subsets of them.
        rows: (N,) the images' rows in the table.
        decoding: How they are decoded.
    """

    root: Path
    table: FileTable
    rows: NDArray[np.int64]
    labels: NDArray[np.int64] | None = None
    class_names: list[str] = field(default_factory=list)
    unlabelled: str = ""
    decoding: Decoding = AS_THEY_ARE
    label_sets: LabelSets | None = None

    def __post_init__(self) -> None:
        is_whole = np.array_equal(self.rows, np.arange(len(self.table.names)))
        names = self.table.names
        self.names = names if is_whole else [names[row] for row in self.rows.tolist()]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(N, 2) upright height and width in pixels; 0 where they are not known yet."""
        return self.table.rows[self.rows][:, [HEIGHT, WIDTH]]

    @property
    def num_bytes(self) -> NDArray[np.int64]:
        """(N,) size of each file."""
        return self.table.asked(self.rows)[:, BYTES]

    @property
    def modified_ns(self) -> NDArray[np.int64]:
        """(N,) modification time of each file in nanoseconds, which programs may set."""
        return self.table.asked(self.rows)[:, MODIFIED_NS]

    @property
    def changed_ns(self) -> NDArray[np.int64]:
        """(N,) time of the last change to the file or its metadata, which no program can set."""
        return self.table.asked(self.rows)[:, CHANGED_NS]

    @property
    def are_files(self) -> bool:
        """Whether each image is a file of its own, and not a part of a shard."""
        return self.table.are_files

    def path(self, index: int) -> Path:
        """The file of image ``index``; in a shard, the shard's path and the name within."""
        return self.root / self.names[index]

    def encoded(self, index: int) -> EncodedImage:
        """Where the bytes of image ``index`` are; see `FileTable.encoded`."""
        return self.table.encoded(int(self.rows[index]))

    def read_sized(self, index: int, shrink: Shrink) -> tuple[Image.Image, Size]:
        """Decode image ``index``."""
        return read_upright(self.encoded(index), shrink, self.decoding)

    def stat(self, index: int) -> Stat:
        """Size in bytes and times of the file; zeros for one that is gone."""
        return self.table.stat(int(self.rows[index]))

    def note(self, seen: Sequence[Seen]) -> set[int]:
        """Fill in what was not known, and compare sizes in bytes and modification times."""
        changed = set()
        for index, size, stat in seen:
            row = self.table.rows[self.rows[index]]
            row[HEIGHT:] = size
            if row[BYTES] == NOT_ASKED:
                row[:HEIGHT] = stat
            elif tuple(row[:CHANGED_NS].tolist()) != stat[:CHANGED_NS]:
                changed.add(index)
        return changed

    def subset(self, indices: NDArray[np.int64]) -> FileImages:
        """These images under new numbers."""
        return FileImages(
            self.root,
            self.table,
            self.rows[indices],
            None if self.labels is None else self.labels[indices],
            self.class_names,
            self.unlabelled,
            self.decoding,
            None if self.label_sets is None else self.label_sets[indices],
        )

    def fingerprint(self) -> str:
        """Hash of all names and file sizes; the contents are not read."""
        digest = hashlib.sha256()
        for name, size in zip(self.names, self.num_bytes, strict=True):
            digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]

    def files_fingerprint(self) -> str:
        """Hash of the folder and of when the files were changed, which differs between copies.

        Names and sizes by themselves miss a photo that was turned in place; so does the
        modification time, which some programs restore.
        """
        digest = hashlib.sha256(str(self.root.resolve()).encode(errors="surrogateescape"))
        digest.update(np.ascontiguousarray(self.modified_ns).data)
        digest.update(np.ascontiguousarray(self.changed_ns).data)
        if self.decoding.levels not in (None, Levels()):
            digest.update(repr(self.decoding.levels).encode())
        return digest.hexdigest()[:16]

    def identity(self, index: int, data: str) -> str:
        """The file's real path."""
        return str(self.path(index).resolve())

    def identities(self, data: str) -> set[str]:
        """The files' real paths.

        Folders are resolved once each: resolving a million files one by one takes minutes.
        """
        resolved = functools.cache(os.path.realpath)
        paths = set()
        for name in self.names:
            folder, file = os.path.split(os.path.join(self.root, name))
            path = os.path.join(resolved(folder), file)
            paths.add(os.path.realpath(path) if os.path.islink(path) else path)
        return paths
