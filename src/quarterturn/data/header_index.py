"""Sizes of image files, stored between runs, so that no header is read twice."""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from quarterturn.config.shared import MAX_PIXELS
from quarterturn.data.encoded_image import EncodedImage
from quarterturn.data.file_table import CHANGED_NS, HEIGHT, NUM_COLUMNS, FileTable, in_threads
from quarterturn.data.image_file import (
    Decoding,
    UnreadableImageError,
    read_image,
    read_size,
    too_large,
)
from quarterturn.errors import OutputError
from quarterturn.files import atomic_write
from quarterturn.progress import stage
from quarterturn.randomness import integers

logger = logging.getLogger(__name__)

FORMAT = 1
NUM_CHECKED = 1000
"""Headers read at an opening: of all files if there are no more, or of a random sample."""
ANNOUNCED_FROM = 10_000
"""Headers to read from which this is announced, since they may take minutes."""
DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    MemoryError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Errors that NumPy raises on missing or damaged files."""


@dataclass(frozen=True)
class FileFacts:
    """Size, times and dimensions of n files.

    Attributes:
        paths: Absolute paths.
        table: (n, 5) int64; see `quarterturn.data.file_table.FileTable`. Height and width are 0 for
            a file that is no image, and all columns for one that is missing or not regular.
        reasons: File number to why there is no image.
    """

    paths: Sequence[str] = ()
    table: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, NUM_COLUMNS), np.int64))
    reasons: dict[int, str] = field(default_factory=dict)


class HeaderIndex:
    """The headers of one collection's image files, including those stored by an earlier opening.

    Of a large collection only a sample of the headers is read, so that a million files open about
    as fast as their names can be listed. Files that turn out to be unreadable in the sample, or did
    so at an earlier opening, are left out; others are found when they are decoded.

    A header is read again if the file's size, its modification time, or the time of the last change
    to its directory entry differs. No program can set the last of these, so a photo is noticed that
    was turned in place by a program that restores the other two.

    Args:
        data: The collection, as `quarterturn.data.data_argument.locate` has it.
        folder: Folder where an earlier opening may have stored its index; None for none.
        verify: Decode every new file in full, not only the headers of a sample.
        max_pixels: Larger images are refused, and never decoded.
    """

    def __init__(
        self,
        data: str,
        folder: Path | None = None,
        *,
        verify: bool = False,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.verify, self.max_pixels = verify, max_pixels
        # A newer Pillow may read files that an older one could not.
        self._about = f"{FORMAT} {PIL.__version__} {verify} {data}"
        key = f"{verify} {data}".encode(errors="surrogateescape")
        self._file_name = f"{hashlib.sha256(key).hexdigest()[:16]}.npz"
        self._stored = FileFacts() if folder is None else self._read(folder / self._file_name)
        self._stored_row = {path: row for row, path in enumerate(self._stored.paths)}
        self._stored_in = folder if self._stored_row else None
        self._is_used = np.zeros(len(self._stored_row), dtype=bool)
        self._inspected: list[FileFacts] = []
        self._has_new = False

    def sample(self, num_files: int) -> NDArray[np.int64]:
        """Numbers of the files whose headers to read: all of a small collection, or some."""
        if self.verify or num_files <= NUM_CHECKED:
            return np.arange(num_files)
        drawn = integers(num_files, 0, "headers", torch.arange(NUM_CHECKED))
        return np.unique(drawn.numpy())

    def known_unreadable(self, root: str, names: Sequence[str]) -> NDArray[np.int64]:
        """Numbers of the files that were unreadable at an earlier opening.

        Args:
            root: Absolute folder that the names are relative to.
            names: The files.
        """
        bad = {self._stored.paths[row] for row in self._stored.reasons}
        if not bad:
            return np.array([], np.int64)
        is_bad = [os.path.join(root, name) in bad for name in names]
        return np.flatnonzero(is_bad)

    def inspect(self, files: FileTable, numbers: Sequence[int]) -> FileFacts:
        """Facts about files, from the stored index where they are up to date.

        Args:
            files: The files of a collection.
            numbers: Which of them.
        """
        paths = [files.key(number) for number in numbers]
        table = np.zeros((len(paths), NUM_COLUMNS), np.int64)
        reasons: dict[int, str] = {}
        table[:, :HEIGHT] = files.stats(numbers, reasons)
        exists = table[:, CHANGED_NS] != 0
        rows = np.array([self._stored_row.get(path, -1) for path in paths], np.int64)
        known = rows >= 0
        stored = self._stored.table
        known[known] = (stored[rows[known], :HEIGHT] == table[known, :HEIGHT]).all(axis=1)
        table[known] = stored[rows[known]]
        self._is_used[rows[known]] = True
        for number in np.flatnonzero(known & (table[:, HEIGHT] == 0)).tolist():
            reasons[number] = self._stored.reasons[int(rows[number])]
        unknown = np.flatnonzero(exists & ~known).tolist()
        sizes = self._sizes(files, [numbers[n] for n in unknown])
        for number, size in zip(unknown, sizes, strict=True):
            if isinstance(size, str):
                reasons[number] = size
            else:
                table[number, HEIGHT:] = size
        self._has_new |= bool(unknown)
        facts = FileFacts(paths, table, reasons)
        self._inspected.append(facts)
        return facts

    def keep(self, folder: Path) -> None:
        """Write the index of this opening, unless the stored one is up to date.

        A failed write costs only time: the headers are read again.

        Args:
            folder: Folder that the next opening is given; made if needed.
        """
        is_same = not self._has_new and self._is_used.all()
        if not self._inspected or (is_same and folder == self._stored_in):
            return
        facts = _joined(self._inspected)
        unreadable = [facts.reasons[n] for n in sorted(facts.reasons)]
        # A full disk, or a run of another user that is readable but not writable.
        with suppress(OSError, OutputError):
            folder.mkdir(exist_ok=True)
            with atomic_write(folder / self._file_name) as file:
                np.savez(
                    file,
                    about=_encode([self._about]),
                    paths=_encode(facts.paths),
                    table=facts.table,
                    reasons=_encode(unreadable),
                )

    def _read(self, path: Path) -> FileFacts:
        """The index of an earlier opening; empty if it is damaged or about other data."""
        try:
            # Opened here, since NumPy leaves a damaged file open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                paths, table = _decode(archive["paths"]), archive["table"]
                unreadable = np.flatnonzero(table[:, HEIGHT] == 0).tolist()
                reasons = dict(zip(unreadable, _decode(archive["reasons"]), strict=True))
                is_ours = _decode(archive["about"]) == [self._about]
        except DAMAGE:
            return FileFacts()
        is_whole = table.shape == (len(paths), 5) and table.dtype == np.int64
        return FileFacts(paths, table, reasons) if is_ours and is_whole else FileFacts()

    def _sizes(self, files: FileTable, numbers: list[int]) -> Iterator[tuple[int, int] | str]:
        """(height, width) of image files, or why they are none."""
        if len(numbers) >= ANNOUNCED_FROM:
            logger.info(
                f"reading the headers of {len(numbers):,} image files; the run stores them for "
                "reuse"
            )

        def size_of(number: int) -> tuple[int, int] | str:
            return self._size(files, number)

        with stage("image headers", total=len(numbers)) as bar, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged metadata in readable images
            for size in in_threads(size_of, numbers):
                bar.advance()
                yield size

    def _size(self, files: FileTable, number: int) -> tuple[int, int] | str:
        try:
            encoded: EncodedImage = files.encoded(number)
            size = read_size(encoded)
            if self.verify and too_large(*size, self.max_pixels) is None:
                read_image(encoded, decoding=Decoding(max_pixels=self.max_pixels))
            return size
        except UnreadableImageError as error:
            return str(error)


def _joined(inspected: list[FileFacts]) -> FileFacts:
    """All files that exist, once each, under new numbers."""
    paths = [path for facts in inspected for path in facts.paths]
    table = np.concatenate([FileFacts().table, *(facts.table for facts in inspected)])
    first: dict[str, int] = {}
    for number in np.flatnonzero(table[:, CHANGED_NS]).tolist():
        first.setdefault(paths[number], number)
    reasons: dict[int, str] = {}
    start = 0
    for facts in inspected:
        reasons |= {start + number: reason for number, reason in facts.reasons.items()}
        start += len(facts.paths)
    numbers = list(first.values())
    renumbered = {new: reasons[old] for new, old in enumerate(numbers) if old in reasons}
    return FileFacts(list(first), table[numbers], renumbered)


def _encode(strings: Sequence[str]) -> NDArray[np.uint8]:
    """Strings as zero-separated bytes; a NumPy array of strings pads each to the longest."""
    return np.frombuffer("\0".join(strings).encode(errors="surrogateescape"), np.uint8)


def _decode(encoded: NDArray[np.uint8]) -> list[str]:
    text = encoded.tobytes().decode(errors="surrogateescape")
    return text.split("\0") if text else []
