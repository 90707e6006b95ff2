"""What the headers of image files said, kept in a file, so that no header is read twice."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL
from numpy.typing import NDArray

from quarterturn.data.image_file import UnreadableImageError, read_image, read_size
from quarterturn.errors import OutputError
from quarterturn.files import atomic_write

FORMAT = 1
BYTES, MODIFIED_NS, CHANGED_NS, HEIGHT, WIDTH = range(5)
"""Columns of facts."""
NUM_THREADS = 8
FILES_AT_A_TIME = 250
MANY = 10_000
"""So many headers to read are announced, since they may take minutes."""
SAY_EVERY_S = 30.0
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
"""What numpy raises on files that are missing or damaged."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Facts:
    """What is known of n files.

    Attributes:
        paths: Their absolute paths.
        table: (n, 5) int64: size in bytes; times of the last change of the contents and of the
            entry on disk, in nanoseconds; upright height and width, 0 where there is no image. All
            0 where there is no file.
        reasons: Why there is no image, by the number of the file.
    """

    paths: Sequence[str] = ()
    table: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 5), np.int64))
    reasons: dict[int, str] = field(default_factory=dict)


class HeaderIndex:
    """The headers of one collection's image files, with those that an earlier opening has read.

    A header is read anew where the file's size differs, the time at which its contents were
    changed, or the time at which its entry on disk was. No program can set the last of these, so
    that a photo is noticed which was turned in place by one that keeps the other two.

    Every file is asked for these at every opening: the folders' own times would tell of new and
    missing files more quickly, but not of files overwritten in place.

    Args:
        data: The collection, in words that mean the same from any working directory.
        folder: Where an earlier opening may have kept its index; None for no such place.
        verify: Decode every file in full, once, not only its header.
        say: Takes lines on the progress where there are many headers to read.
    """

    def __init__(
        self,
        data: str,
        folder: Path | None = None,
        *,
        verify: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.verify = verify
        self.say = say
        # What another Pillow cannot read, this one may.
        self._about = f"{FORMAT} {PIL.__version__} {verify} {data}"
        of_data = f"{verify} {data}".encode(errors="surrogateescape")
        self._name = f"{hashlib.sha256(of_data).hexdigest()[:16]}.npz"
        self._kept = Facts() if folder is None else self._read(folder / self._name)
        self._row = {path: row for row, path in enumerate(self._kept.paths)}
        self._kept_in = folder if self._row else None
        self._is_used = np.zeros(len(self._row), dtype=bool)
        self._found: list[Facts] = []
        self._is_new = False

    def inspect(self, paths: Sequence[str]) -> Facts:
        """The facts of files, from the index where they stand in it and are still true.

        Args:
            paths: Absolute paths.
        """
        table = np.zeros((len(paths), 5), np.int64)
        reasons: dict[int, str] = {}
        stats = _stats(paths, reasons)
        table[:, :HEIGHT] = np.fromiter(stats, np.dtype((np.int64, HEIGHT)), len(paths))
        is_there = table[:, CHANGED_NS] != 0
        rows = np.array([self._row.get(path, -1) for path in paths], np.int64)
        known = rows >= 0
        known[known] = (self._kept.table[rows[known], :HEIGHT] == table[known, :HEIGHT]).all(axis=1)
        table[known] = self._kept.table[rows[known]]
        self._is_used[rows[known]] = True
        for number in np.flatnonzero(known & (table[:, HEIGHT] == 0)).tolist():
            reasons[number] = self._kept.reasons[int(rows[number])]
        unknown = np.flatnonzero(is_there & ~known).tolist()
        for number, size in zip(unknown, self._sizes([paths[n] for n in unknown]), strict=True):
            if isinstance(size, str):
                reasons[number] = size
            else:
                table[number, HEIGHT:] = size
        self._is_new |= bool(unknown)
        facts = Facts(paths, table, reasons)
        self._found.append(facts)
        return facts

    def keep(self, folder: Path) -> None:
        """Write what this opening found, unless it stands there already.

        Nothing is lost but time where it cannot be written.

        Args:
            folder: Where the next opening will look; made if need be.
        """
        is_same = not self._is_new and self._is_used.all()
        if not self._found or (is_same and folder == self._kept_in):
            return
        facts = _joined(self._found)
        unreadable = [facts.reasons[n] for n in sorted(facts.reasons)]
        # A full disk, or somebody else's run, which may be read but not written.
        with suppress(OSError, OutputError):
            folder.mkdir(exist_ok=True)
            with atomic_write(folder / self._name) as file:
                np.savez(
                    file,
                    about=_bytes_of([self._about]),
                    paths=_bytes_of(facts.paths),
                    table=facts.table,
                    reasons=_bytes_of(unreadable),
                )

    def _read(self, path: Path) -> Facts:
        """What an earlier opening has kept; nothing where it is damaged or of something else."""
        try:
            # Opened here, since numpy leaves a damaged file open.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                paths, table = _words_of(archive["paths"]), archive["table"]
                unreadable = np.flatnonzero(table[:, HEIGHT] == 0).tolist()
                reasons = dict(zip(unreadable, _words_of(archive["reasons"]), strict=True))
                is_ours = _words_of(archive["about"]) == [self._about]
        except DAMAGE:
            return Facts()
        is_whole = table.shape == (len(paths), 5) and table.dtype == np.int64
        return Facts(paths, table, reasons) if is_ours and is_whole else Facts()

    def _sizes(self, paths: list[str]) -> Iterator[tuple[int, int] | str]:
        """(height, width) of image files, or why they are none."""
        start = said = time.monotonic()
        say = self.say if len(paths) >= MANY else None
        if say is not None:
            say(f"reading the headers of {len(paths):,} image files; they are kept in the run")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata in a picture that reads well
            for done, size in enumerate(_in_threads(self._size, paths)):
                if say is not None and (now := time.monotonic()) - said >= SAY_EVERY_S:
                    say(f"{done:,} of {len(paths):,} read, {done / (now - start):,.0f} a second")
                    said = now
                yield size

    def _size(self, path: str) -> tuple[int, int] | str:
        try:
            size = read_size(Path(path))
            if self.verify:
                read_image(Path(path))
            return size
        except UnreadableImageError as error:
            return str(error)


def _stats(paths: Sequence[str], missing: dict[int, str]) -> Iterator[tuple[int, int, int]]:
    """Size and times of each file; of one that is missing 0, and the reason is noted."""
    for number, found in enumerate(_in_threads(_stat, paths)):
        if isinstance(found, str):
            missing[number] = found
            yield 0, 0, 0
        else:
            yield found


def _stat(path: str) -> tuple[int, int, int] | str:
    try:
        found = os.stat(path)
    except OSError as error:
        return error.strerror or "cannot be opened"
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _in_threads(ask: Callable[[str], Answer], paths: Sequence[str]) -> Iterator[Answer]:
    """Answers in order; threads wait for the disk together, and decode without each other's lock.

    A million tasks of one file each would take a gigabyte.
    """
    parts = [paths[i : i + FILES_AT_A_TIME] for i in range(0, len(paths), FILES_AT_A_TIME)]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for answers in pool.map(lambda part: [ask(path) for path in part], parts):
            yield from answers


def _joined(found: list[Facts]) -> Facts:
    """All files that are there, once each, under new numbers."""
    paths = [path for facts in found for path in facts.paths]
    table = np.concatenate([Facts().table, *(facts.table for facts in found)])
    first: dict[str, int] = {}
    for number in np.flatnonzero(table[:, CHANGED_NS]).tolist():
        first.setdefault(paths[number], number)
    reasons: dict[int, str] = {}
    start = 0
    for facts in found:
        reasons |= {start + number: reason for number, reason in facts.reasons.items()}
        start += len(facts.paths)
    numbers = list(first.values())
    told = {new: reasons[old] for new, old in enumerate(numbers) if old in reasons}
    return Facts(list(first), table[numbers], told)


def _bytes_of(words: Sequence[str]) -> NDArray[np.uint8]:
    """Words end to end, since an array of strings gives each the room of the longest."""
    return np.frombuffer("\0".join(words).encode(errors="surrogateescape"), np.uint8)


def _words_of(encoded: NDArray[np.uint8]) -> list[str]:
    text = encoded.tobytes().decode(errors="surrogateescape")
    return text.split("\0") if text else []
