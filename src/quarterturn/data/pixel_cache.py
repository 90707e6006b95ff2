"""A collection decoded once: upright images of a given short side, in one memory-mapped file.

A cache is a folder of three files: ``pixels.bin``, the images one after another, either raw, each
(H, W, 3) uint8, or as JPEGs; ``rows.bin``, a row of int64 for each image that was to be decoded;
and ``cache.json``, which is written last, with the images' names, labels and splits. It is DATA by
itself.

Shapes: N images of all splits.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quarterturn.data.image_file import FAILURES, Shrink, Size, UnreadableImageError
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.label_sets import LabelSets
from quarterturn.errors import DataError

FORMAT = 2
"""Of what is written; format 1 was always raw, and had no column of sizes in bytes."""
ABOUT, PIXELS, ROWS = "cache.json", "pixels.bin", "rows.bin"
NUM_COLUMNS = 5
OFFSET, HEIGHT, WIDTH, CHECKSUM, BYTES = range(NUM_COLUMNS)
"""Columns of ``rows.bin``; all are 0 for a file that could not be decoded."""
CHANNELS = 3

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class CacheOrigin:
    """What a cache was made of, and how.

    Attributes:
        data: DATA that was decoded, as `quarterturn.data.data_argument.locate` has it; None where
            an earlier version made the cache, which did not say.
        side: Short side of larger images, in pixels.
        quality: Of JPEGs; None for raw pixels.
    """

    data: str | None
    side: int
    quality: int | None = None

    def command(self, cache: Path | str) -> list[str]:
        """The words that make such a cache: ``cache PHOTOS --out CACHE --side 256``."""
        words = ["cache", self.data or "DATA", "--out", str(cache), "--side", str(self.side)]
        return words if self.quality is None else [*words, "--quality", str(self.quality)]

    def __str__(self) -> str:
        """For people: ``decoded from /photos; short side 256 px, raw pixels``."""
        source = "" if self.data is None else f"decoded from {self.data}; "
        kept = "raw pixels" if self.quality is None else f"JPEGs of quality {self.quality}"
        return f"{source}short side {self.side} px, {kept}"


class MappedFile:
    """A file of which any part can be read, by as many processes as there are; opened when needed.

    Mapped into memory, since that takes half as long as opening the file for each image.

    Args:
        path: The file, which nobody changes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map: mmap.mmap | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A mapping belongs to its process."""
        return {"path": self.path, "_map": None}

    def part(self, offset: int, size: int) -> memoryview:
        """Bytes of the file, which are not copied.

        Raises:
            OSError: It is gone.
            ValueError: It is shorter.
        """
        if self._map is None:
            with open(self.path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if offset + size > len(self._map):
            raise ValueError(f"{len(self._map):,} bytes, expected {offset + size:,}")
        return memoryview(self._map)[offset : offset + size]


@dataclass
class CachedImages(ImageSet):
    """Images of a cache, read from it one by one.

    Args:
        file: ``pixels.bin``.
        names: (N,) names in the collection that was cached.
        rows: (N, 5) int64: offset in the file, height, width, checksum, size in bytes.
        paths: (N,) the files that the images were decoded from; None for images of an array.
        is_raw: Whether the images are raw pixels; otherwise they are JPEGs.
    """

    file: MappedFile
    names: list[str]
    rows: Rows
    paths: list[str] | None
    is_raw: bool = True
    labels: NDArray[np.int64] | None = None
    class_names: list[str] = field(default_factory=list)
    unlabelled: str = ""
    label_sets: LabelSets | None = None

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(N, 2) height and width."""
        return self.rows[:, [HEIGHT, WIDTH]]

    def read_sized(self, index: int, shrink: Shrink) -> tuple[Image.Image, Size]:
        """Image ``index`` as it is, never shrunk."""
        offset, height, width, _, num_bytes = self.rows[index].tolist()
        try:
            stored = self.file.part(offset, num_bytes)
            if self.is_raw:
                return Image.frombytes("RGB", (width, height), stored), (height, width)
            with Image.open(io.BytesIO(stored)) as image:
                image.load()
                return image, (height, width)
        except FAILURES as error:
            raise UnreadableImageError(f"{self.file.path} is damaged or gone: {error}") from error

    def subset(self, indices: NDArray[np.int64]) -> CachedImages:
        """These images under new numbers."""
        return CachedImages(
            self.file,
            [self.names[i] for i in indices],
            self.rows[indices],
            None if self.paths is None else [self.paths[i] for i in indices],
            self.is_raw,
            None if self.labels is None else self.labels[indices],
            self.class_names,
            self.unlabelled,
            None if self.label_sets is None else self.label_sets[indices],
        )

    def fingerprint(self) -> str:
        """Hash of all names, sizes and checksums of what is stored."""
        digest = hashlib.sha256("\0".join(self.names).encode(errors="surrogateescape"))
        digest.update(np.ascontiguousarray(self.rows[:, [HEIGHT, WIDTH, CHECKSUM]]).data)
        return digest.hexdigest()[:16]

    def identity(self, index: int, data: str) -> str:
        """The real path of the file that the image was decoded from."""
        return self.paths[index] if self.paths is not None else super().identity(index, data)


@dataclass(frozen=True)
class OpenedCache:
    """A finished cache.

    Attributes:
        name: Of the collection that was cached.
        splits: Its splits. Those that were arrays are arrays again, mapped into memory.
        origin: What it was made of.
        fingerprints: Of each split that was decoded.
        white: ``--white`` that 16-bit files were decoded by.
        unreadable: Files that could not be decoded, with the reason.
    """

    name: str
    splits: dict[str, ImageSet]
    origin: CacheOrigin
    fingerprints: dict[str, str]
    white: int | None
    unreadable: dict[str, str]


def is_cache(folder: Path) -> bool:
    """Whether a folder is a finished cache."""
    return (folder / ABOUT).is_file() and (folder / ROWS).is_file()


def open_cache(folder: Path) -> OpenedCache:
    """Open a finished cache.

    Raises:
        DataError: The cache is damaged, or of a later version.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["format"] > FORMAT:
            raise DataError(
                f"the cache {folder} is of format {about['format']}, and this version reads up to "
                f"{FORMAT}: update quarterturn"
            )
        rows = _rows(folder, about["format"])
        expected, found = int(rows[:, BYTES].sum()), os.path.getsize(folder / PIXELS)
        if found != expected or len(rows) != sum(len(s["names"]) for s in about["splits"].values()):
            raise ValueError(f"{PIXELS} has {found:,} bytes, expected {expected:,}")
        origin = CacheOrigin(about.get("data"), about["side"], about.get("quality"))
        return OpenedCache(
            about["name"],
            _splits(folder, about["splits"], rows, is_raw=origin.quality is None),
            origin,
            about["fingerprints"],
            about["white"],
            about.get("unreadable", {}),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"the cache {folder} is damaged: {error}. Make it again with: quarterturn cache DATA "
            f"--out {folder} --overwrite"
        ) from error


def _rows(folder: Path, format: int) -> Rows:
    stored = np.fromfile(folder / ROWS, np.int64)
    if format > 1:
        return stored.reshape(-1, NUM_COLUMNS)
    rows = stored.reshape(-1, BYTES)
    return np.column_stack([rows, rows[:, HEIGHT] * rows[:, WIDTH] * CHANNELS])


def _splits(
    folder: Path, about: Mapping[str, Any], rows: Rows, *, is_raw: bool
) -> dict[str, ImageSet]:
    splits, start, file = dict[str, ImageSet](), 0, MappedFile(folder / PIXELS)
    for split, stored in about.items():
        of_split = rows[start : start + len(stored["names"])]
        start += len(stored["names"])
        labels, label_sets = stored["labels"], stored["label_sets"]
        images = CachedImages(
            file,
            stored["names"],
            of_split,
            stored["paths"],
            is_raw,
            None if labels is None else np.array(labels, np.int64),
            stored["class_names"],
            stored["unlabelled"],
            None if label_sets is None else np.array(label_sets, np.int8),
        )
        is_array = is_raw and stored.get("is_array", False)
        splits[split] = (
            _array(images) if is_array else images.subset(np.flatnonzero(of_split[:, HEIGHT]))
        )
    return splits


def _array(images: CachedImages) -> ArrayImages:
    """The images of an array, which are of one size and lie one after another."""
    offset, height, width = images.rows[0, :CHECKSUM].tolist()
    shape = (len(images), height, width, CHANNELS)
    # Copied where somebody writes to it; torch warns about memory that cannot be written to.
    pixels = np.memmap(images.file.path, np.uint8, mode="c", offset=offset, shape=shape)
    return ArrayImages(
        pixels,
        images.names,
        images.labels,
        images.class_names,
        images.unlabelled,
        images.label_sets,
    )
