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

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quarterturn.data.image_file import AS_THEY_ARE, Decoding, read_image
from quarterturn.data.wide_values import Levels


class ImageSet(ABC):
    """N images under fixed numbers.

    Attributes:
        names: (N,) name of each image, relative to the source.
        sizes: (N, 2) upright height and width in pixels.
        labels: (N,) int64 classes, or None. Only probes and supervised training read them.
        class_names: Names of the classes; empty without labels.
        unlabelled: Why there are no labels, if some were expected.
    """

    names: Sequence[str]
    sizes: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    class_names: list[str]
    unlabelled: str

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def read(self, index: int, shrink: float = 1.0) -> Image.Image:
        """Image ``index``, upright, RGB; see `quarterturn.data.image_file.read_image`."""

    def has_changed(self, index: int) -> bool:
        """Whether the file of image ``index`` is another one than when it was indexed."""
        return False

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
        pixels: (N, H, W, 3) uint8.
    """

    pixels: NDArray[np.uint8]
    names: Sequence[str]
    labels: NDArray[np.int64] | None = None
    class_names: list[str] = field(default_factory=list)
    unlabelled: str = ""

    def __post_init__(self) -> None:
        self.sizes = np.tile(self.pixels.shape[1:3], (len(self.pixels), 1)).astype(np.int64)

    def read(self, index: int, shrink: float = 1.0) -> Image.Image:
        """Image ``index`` as a Pillow image."""
        return Image.fromarray(self.pixels[index])

    def subset(self, indices: NDArray[np.int64]) -> ArrayImages:
        """These images under new numbers."""
        return ArrayImages(
            self.pixels[indices],
            [self.names[i] for i in indices],
            None if self.labels is None else self.labels[indices],
            self.class_names,
            self.unlabelled,
        )

    def fingerprint(self) -> str:
        """Hash of the shape and all pixels."""
        digest = hashlib.sha256(str(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()[:16]


@dataclass
class FileImages(ImageSet):
    """Image files, decoded when they are read.

    Args:
        root: The folder that ``names`` are relative to.
        num_bytes: (N,) size of each file.
        modified_ns: (N,) modification time of each file in nanoseconds, which programs may set.
        changed_ns: (N,) time of the last change to the file or its metadata, which no program can
            set.
        decoding: How they are decoded.
    """

    root: Path
    names: Sequence[str]
    sizes: NDArray[np.int64]
    num_bytes: NDArray[np.int64]
    modified_ns: NDArray[np.int64]
    changed_ns: NDArray[np.int64]
    labels: NDArray[np.int64] | None = None
    class_names: list[str] = field(default_factory=list)
    unlabelled: str = ""
    decoding: Decoding = AS_THEY_ARE

    def path(self, index: int) -> Path:
        """The file of image ``index``."""
        return self.root / self.names[index]

    def read(self, index: int, shrink: float = 1.0) -> Image.Image:
        """Decode image ``index``."""
        return read_image(self.path(index), shrink, self.decoding)

    def has_changed(self, index: int) -> bool:
        """Whether its size or modification time differ from those that were first seen."""
        try:
            about = os.stat(self.path(index))
        except OSError:
            return True
        seen = (self.num_bytes[index], self.modified_ns[index])
        return (about.st_size, about.st_mtime_ns) != seen

    def subset(self, indices: NDArray[np.int64]) -> FileImages:
        """These images under new numbers."""
        return FileImages(
            self.root,
            [self.names[i] for i in indices],
            self.sizes[indices],
            self.num_bytes[indices],
            self.modified_ns[indices],
            self.changed_ns[indices],
            None if self.labels is None else self.labels[indices],
            self.class_names,
            self.unlabelled,
            self.decoding,
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
