"""One indexed data set behind every source of images.

Shapes: N images, numbered 0..N-1 for the whole run; H, W their height and width.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quarterturn.data.image_file import read_image


class ImageSet(ABC):
    """N images under fixed numbers.

    Attributes:
        names: (N,) a name for each image, relative to the source.
        sizes: (N, 2) upright height and width in pixels.
        labels: (N,) int64 classes, or None. Only probes and supervised training read them.
        class_names: Names of the classes; empty without labels.
        unlabelled: Why there are no labels, in words, where there might have been.
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

    @abstractmethod
    def subset(self, indices: NDArray[np.int64]) -> ImageSet:
        """These images under new numbers 0..n-1, in the given order."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A short hash that tells one collection of images from another."""


@dataclass
class ArrayImages(ImageSet):
    """Small images, all of one size, in memory.

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
        """Hash of the shape and every pixel."""
        digest = hashlib.sha256(str(self.pixels.shape).encode())
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()[:16]


@dataclass
class FileImages(ImageSet):
    """Image files, decoded when they are read.

    Args:
        root: The folder that ``names`` are relative to.
        num_bytes: (N,) size of each file.
        modified_ns: (N,) when each file's contents were last written, in nanoseconds, or what a
            program has set that time to.
        changed_ns: (N,) when anything about the file was last changed, which no program sets.
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

    def path(self, index: int) -> Path:
        """The file of image ``index``."""
        return self.root / self.names[index]

    def read(self, index: int, shrink: float = 1.0) -> Image.Image:
        """Decode image ``index``."""
        return read_image(self.path(index), shrink)

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
        )

    def fingerprint(self) -> str:
        """Hash of every name and file size; the contents are not read."""
        digest = hashlib.sha256()
        for name, size in zip(self.names, self.num_bytes, strict=True):
            digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()[:16]

    def files_fingerprint(self) -> str:
        """Hash of where the files lie and when they were changed, which copies have not in common.

        Names and sizes alone would not tell a photo from itself, turned in place; nor would the
        time of writing, which some programs put back.
        """
        digest = hashlib.sha256(str(self.root.resolve()).encode(errors="surrogateescape"))
        digest.update(np.ascontiguousarray(self.modified_ns).data)
        digest.update(np.ascontiguousarray(self.changed_ns).data)
        return digest.hexdigest()[:16]
