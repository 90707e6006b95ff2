"""What is known of image files: size in bytes, times, height and width.

A file is asked for its size in bytes and its times when they are first needed; a million of them
take seconds. Its height and width are those of its header, where that has been read, and else are
filled in when it is decoded.

Shapes: N files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.encoded_image import EncodedImage
from quarterturn.data.image_file import irregular
from quarterturn.progress import stage

NUM_COLUMNS = 5
BYTES, MODIFIED_NS, CHANGED_NS, HEIGHT, WIDTH = range(NUM_COLUMNS)
"""Columns of `FileTable.rows`."""
NOT_ASKED = -1
"""Size in bytes of a file that has not been asked for it."""
NUM_THREADS = 8
FILES_PER_TASK = 250

Stat = tuple[int, int, int]
"""Size in bytes and times of a file, in the columns' order; zeros where there is none."""
Rows = NDArray[np.int64]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class FileTable:
    """The files of a collection, shared by all of its subsets.

    Attributes:
        root: Absolute folder that the names are relative to.
        names: (N,) names.
        rows: (N, 5) int64: size in bytes; modification time and time of the last change to the
            directory entry, in nanoseconds; upright height and width. Sizes in bytes are
            `NOT_ASKED`, heights and widths 0, where they are not known.
    """

    root: str
    names: Sequence[str]
    rows: Rows

    are_files: ClassVar[bool] = True
    """Whether each image is a file of its own."""

    @property
    def knows_sizes(self) -> bool:
        """Whether sizes in bytes are those of the images, so that copies have the same."""
        return True

    def key(self, number: int) -> str:
        """What tells an image from all others on this machine: its absolute path."""
        return os.path.join(self.root, self.names[number])

    def encoded(self, number: int) -> EncodedImage:
        """Where the bytes of an image are.

        Raises:
            UnreadableImageError: It is in a larger file, and cannot be taken out of it.
        """
        return Path(self.key(number))

    def stat(self, number: int) -> Stat:
        """Size in bytes and times of an image, as they are now; zeros for one that is gone."""
        return read_stat(self.key(number))

    def stats(self, numbers: Sequence[int], missing: dict[int, str]) -> Rows:
        """(n, 3) `stat` of several; the place in ``numbers`` of a missing one to the reason."""
        return read_stats([self.key(number) for number in numbers], missing)

    def spared(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of a random sample of images whose headers can be read without much else."""
        return numbers

    def asked(self, numbers: NDArray[np.int64]) -> Rows:
        """The rows of files, with sizes in bytes and times; 0 for those that are gone."""
        unknown = numbers[self.rows[numbers, BYTES] == NOT_ASKED]
        if len(unknown):
            with stage("sizes of files", total=len(unknown), weight=0):
                self.rows[unknown, :HEIGHT] = self.stats(unknown.tolist(), {})
        return self.rows[numbers]


def unknown_rows(num_files: int) -> Rows:
    """The rows of files of which nothing is known."""
    rows = np.zeros((num_files, NUM_COLUMNS), np.int64)
    rows[:, BYTES] = NOT_ASKED
    return rows


def read_stats(paths: Sequence[str], missing: dict[int, str]) -> Rows:
    """(n, 3) size in bytes and times; zeros for a missing file, with the reason in ``missing``."""
    stats = _stats(paths, missing)
    return np.fromiter(stats, np.dtype((np.int64, HEIGHT)), len(paths))


def read_stat(path: str) -> Stat:
    """Size in bytes and times of one file; zeros for a missing one."""
    stat = _stat(path)
    return (0, 0, 0) if isinstance(stat, str) else stat


def _stats(paths: Sequence[str], missing: dict[int, str]) -> Iterator[Stat]:
    for number, stat in enumerate(in_threads(_stat, paths)):
        if isinstance(stat, str):
            missing[number] = stat
            yield 0, 0, 0
        else:
            yield stat


def _stat(path: str) -> Stat | str:
    try:
        stat = os.stat(path)
    except OSError as error:
        return error.strerror or "cannot be opened"
    if (reason := irregular(stat)) is not None:
        return reason  # never opened: a pipe would wait for ever
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def in_threads(
    read: Callable[[Item], Result], items: Sequence[Item], per_task: int = FILES_PER_TASK
) -> Iterator[Result]:
    """``read`` of each file, in order, by threads that wait for the disk at the same time.

    Files are handed out in batches: a million tasks of one file each would take a gigabyte.
    """
    parts = [items[i : i + per_task] for i in range(0, len(items), per_task)]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        for results in pool.map(lambda part: [read(item) for item in part], parts):
            yield from results
