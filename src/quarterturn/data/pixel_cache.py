"""A collection decoded once: upright images of a given short side, as raw pixels in one file.

A cache is a folder of three files: ``pixels.bin``, the images one after another, each (H, W, 3)
uint8; ``rows.bin``, a row of int64 for each image that was to be decoded; and ``cache.json``, which
is written last, with the images' names, labels and splits. It is DATA by itself.

Shapes: N images of all splits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quarterturn.data.image_file import Shrink, Size, UnreadableImageError
from quarterturn.data.imageset import ImageSet
from quarterturn.data.label_sets import LabelSets
from quarterturn.errors import DataError

FORMAT = 1
ABOUT, PIXELS, ROWS = "cache.json", "pixels.bin", "rows.bin"
NUM_COLUMNS = 4
OFFSET, HEIGHT, WIDTH, CHECKSUM = range(NUM_COLUMNS)
"""Columns of ``rows.bin``; all are 0 for a file that could not be decoded."""
CHANNELS = 3


@dataclass
class CachedImages(ImageSet):
    """Images of a cache, read from it one by one.

    Args:
        file: ``pixels.bin``.
        names: (N,) names in the collection that was cached.
        rows: (N, 4) int64: offset in the file, height, width, checksum.
        paths: (N,) the files that the images were decoded from; None for images of an array.
    """

    file: Path
    names: list[str]
    rows: NDArray[np.int64]
    paths: list[str] | None
    labels: NDArray[np.int64] | None
    class_names: list[str]
    unlabelled: str
    label_sets: LabelSets | None = None

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(N, 2) height and width."""
        return self.rows[:, [HEIGHT, WIDTH]]

    def read_sized(self, index: int, shrink: Shrink) -> tuple[Image.Image, Size]:
        """Image ``index`` as it is, never shrunk."""
        offset, height, width, _ = self.rows[index].tolist()
        try:
            pixels = np.fromfile(self.file, np.uint8, height * width * CHANNELS, offset=offset)
            return Image.fromarray(pixels.reshape(height, width, CHANNELS)), (height, width)
        except (OSError, ValueError) as error:
            raise UnreadableImageError(f"{self.file} is damaged or gone: {error}") from error

    def subset(self, indices: NDArray[np.int64]) -> CachedImages:
        """These images under new numbers."""
        return CachedImages(
            self.file,
            [self.names[i] for i in indices],
            self.rows[indices],
            None if self.paths is None else [self.paths[i] for i in indices],
            None if self.labels is None else self.labels[indices],
            self.class_names,
            self.unlabelled,
            None if self.label_sets is None else self.label_sets[indices],
        )

    def fingerprint(self) -> str:
        """Hash of all names, sizes and checksums of the pixels."""
        digest = hashlib.sha256("\0".join(self.names).encode(errors="surrogateescape"))
        digest.update(np.ascontiguousarray(self.rows[:, [HEIGHT, WIDTH, CHECKSUM]]).data)
        return digest.hexdigest()[:16]

    def identity(self, index: int, data: str) -> str:
        """The real path of the file that the image was decoded from."""
        return self.paths[index] if self.paths is not None else super().identity(index, data)


def is_cache(folder: Path) -> bool:
    """Whether a folder is a finished cache."""
    return (folder / ABOUT).is_file() and (folder / ROWS).is_file()


def open_cache(folder: Path) -> tuple[str, dict[str, CachedImages]]:
    """The name of the collection that was cached, and its splits.

    Raises:
        DataError: The cache is damaged, or of a later version.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        rows = np.fromfile(folder / ROWS, np.int64).reshape(-1, NUM_COLUMNS)
        if about["format"] > FORMAT:
            raise DataError(
                f"the cache {folder} is of format {about['format']}, and this version reads up to "
                f"{FORMAT}: update quarterturn"
            )
        expected = int((rows[:, HEIGHT] * rows[:, WIDTH]).sum()) * CHANNELS
        found = os.path.getsize(folder / PIXELS)
        if found != expected or len(rows) != sum(len(s["names"]) for s in about["splits"].values()):
            raise ValueError(f"{PIXELS} has {found:,} bytes, expected {expected:,}")
        return about["name"], _splits(folder, about["splits"], rows)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the cache {folder} is damaged: {error}. Make it again with: quarterturn cache DATA "
            f"--out {folder} --overwrite"
        ) from error


def _splits(
    folder: Path, about: Mapping[str, Any], rows: NDArray[np.int64]
) -> dict[str, CachedImages]:
    splits, start = {}, 0
    for split, stored in about.items():
        of_split = rows[start : start + len(stored["names"])]
        start += len(stored["names"])
        labels, label_sets = stored["labels"], stored["label_sets"]
        images = CachedImages(
            folder / PIXELS,
            stored["names"],
            of_split,
            stored["paths"],
            None if labels is None else np.array(labels, np.int64),
            stored["class_names"],
            stored["unlabelled"],
            None if label_sets is None else np.array(label_sets, np.int8),
        )
        splits[split] = images.subset(np.flatnonzero(of_split[:, HEIGHT]))
    return splits
