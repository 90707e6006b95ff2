"""The feature cache: memory-mapped files, so that no backbone runs twice over the same images.

Shapes: n images; d width of a part of the features.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.errors import OutputError, QuarterturnError
from quarterturn.files import beside, put_in_place, write_json
from quarterturn.kept_files import checksum, read_json, read_object

logger = logging.getLogger(__name__)

Entry = tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]
"""(n,) numbers of the images that could be read, and part to (n, d) features."""

FORMAT = 1
"""Part of every key; raised when the same settings begin to mean other features."""
CHECKSUMS = "checksums.json"
"""Name of the file of an entry with the CRC-32 of the others; entries of earlier versions have
none."""


class FeatureCache:
    """A folder of features, with one entry per combination of weights, images and view.

    An entry is a folder of plain ``.npy`` files, one per name in ``parts.json``, and
    ``indices.npy``. It appears complete or not at all, and is compared with its checksums before it
    is used. Any entry, or the whole folder, may be deleted at any time.

    Args:
        folder: The folder; made with the first entry.
        keeps: Whether entries are added; otherwise what is missing is computed and forgotten.
    """

    def __init__(self, folder: Path, *, keeps: bool = True) -> None:
        self.folder, self.keeps = folder, keeps
        self._whole: set[str] = set()

    @staticmethod
    def key(about: dict[str, Any], turns: Tensor | None) -> str:
        """The name of an entry.

        Args:
            about: Everything that the features depend on, in plain values: fingerprints of weights
                and images, crop settings, layers.
            turns: (N,) quarter turns of the images, or None.
        """
        words = json.dumps([FORMAT, about], sort_keys=True)
        digest = hashlib.sha256(words.encode())
        if turns is not None:
            digest.update(turns.cpu().numpy().astype(np.int64).tobytes())
        return digest.hexdigest()[:20]

    def has(self, key: str) -> bool:
        """Whether there is such an entry; a damaged one is deleted, which is logged.

        An entry is compared with its checksums once: that reads all of it.
        """
        folder = self.folder / key
        if key not in self._whole and folder.is_dir():
            if (reason := _damage(folder)) is None:
                self._whole.add(key)
            else:
                logger.warning(
                    f"the features kept in {folder} are damaged ({reason}), so they are computed "
                    "again"
                )
                if not self.keeps:
                    return False
                shutil.rmtree(folder)
        return folder.is_dir()

    def writer(self, key: str, num_images: int) -> EntryWriter:
        """Begin an entry of at most ``num_images`` images."""
        return EntryWriter(self.folder / key, num_images)

    def read(self, key: str) -> Entry:
        """The numbers of an entry's images, and its memory-mapped parts."""
        return _read(self.folder / key)


class Writer(Protocol):
    """Takes features batch by batch."""

    def append(self, name: str, values: NDArray[Any]) -> None:
        """Add rows (b, d) to a part; float32, or uint8 for pixels."""

    def finish(self, indices: NDArray[np.int64]) -> Entry:
        """The complete entry, for the images ``indices`` that could be read."""

    def discard(self) -> None:
        """Delete what was written."""


class MemoryWriter:
    """Collects features in memory."""

    def __init__(self) -> None:
        self.parts: dict[str, list[NDArray[Any]]] = {}

    def append(self, name: str, values: NDArray[Any]) -> None:
        """Add rows (b, d) to a part; float32, or uint8 for pixels."""
        self.parts.setdefault(name, []).append(values)

    def finish(self, indices: NDArray[np.int64]) -> Entry:
        """The complete entry."""
        return indices, {name: np.concatenate(values) for name, values in self.parts.items()}

    def discard(self) -> None:
        """Forget what was collected."""
        self.parts.clear()


class EntryWriter:
    """Writes a cache entry batch by batch, so that features need not fit into memory.

    Args:
        folder: The entry's folder.
        num_images: Largest number of images.
    """

    def __init__(self, folder: Path, num_images: int) -> None:
        self.folder, self.num_images = folder, num_images
        # Unique, since another process may be writing the same entry.
        self.partial = beside(folder)
        self.partial.mkdir(parents=True)
        self.arrays: dict[str, np.memmap] = {}
        self.rows: dict[str, int] = {}

    def append(self, name: str, values: NDArray[Any]) -> None:
        """Add rows (b, d) to a part; float32, or uint8 for pixels."""
        if name not in self.arrays:
            self.partial.mkdir(exist_ok=True)  # a faster process may have removed it
            path = self.partial / f"{len(self.arrays)}.npy"
            shape = (self.num_images, *values.shape[1:])
            self.arrays[name] = open_memmap(path, "w+", dtype=values.dtype, shape=shape)
            if hasattr(os, "posix_fallocate"):
                # A full disk raises an error here; in a mapped file it would kill the process.
                with open(path, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            self.rows[name] = 0
        start = self.rows[name]
        self.arrays[name][start : start + len(values)] = values
        self.rows[name] = start + len(values)

    def finish(self, indices: NDArray[np.int64]) -> Entry:
        """Move the complete entry, for the images ``indices``, into place."""
        for array in self.arrays.values():
            array.flush()
        try:
            np.save(self.partial / "indices.npy", indices)
            write_json(self.partial / "parts.json", list(self.arrays))
            written = sorted(self.partial.iterdir())
            write_json(self.partial / CHECKSUMS, {file.name: checksum(file) for file in written})
            if self.folder.is_dir() and len(_read(self.folder)[0]) < len(indices):
                shutil.rmtree(self.folder)  # made while some files could not be read
            put_in_place(self.partial, self.folder)
        except (OSError, OutputError):
            if not self.folder.is_dir():
                raise
            # Another process was faster with the same features.
        # Partial entries of other processes, running or dead, are no longer needed.
        for begun in self.folder.parent.glob(f"{self.folder.name}.*partial"):
            shutil.rmtree(begun, ignore_errors=True)
        return _read(self.folder)

    def discard(self) -> None:
        """Delete what was written."""
        shutil.rmtree(self.partial, ignore_errors=True)


def _read(folder: Path) -> Entry:
    indices = np.load(folder / "indices.npy")
    names = read_json(folder / "parts.json")
    # Copy on write: torch warns about read-only arrays.
    return indices, {
        name: np.load(folder / f"{number}.npy", mmap_mode="c")[: len(indices)]
        for number, name in enumerate(names)
    }


def _damage(folder: Path) -> str | None:
    """What is wrong with an entry; None for one that is as it was written."""
    try:
        if not (folder / CHECKSUMS).exists():
            _read(folder)
            return None
        expected = read_object(folder / CHECKSUMS)
        found = {file.name: file for file in folder.iterdir() if file.name != CHECKSUMS}
        if missing := expected.keys() - found.keys():
            return f"{min(missing)} is missing"
        for name in expected:
            if checksum(found[name]) != expected[name]:
                return f"{name} is not as it was written"
    except OSError as error:
        return error.strerror or str(error)
    except (QuarterturnError, ValueError, TypeError, EOFError) as error:
        return str(error)
    return None
