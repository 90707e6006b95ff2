"""Image files of a folder or of shards: readable ones, unreadable ones, and HEIC files left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quarterturn.data.file_table import HEIGHT, WIDTH, FileTable, unknown_rows
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.image_file import HEIC, Decoding, heic_is_readable, too_large
from quarterturn.data.imageset import FileImages


@dataclass(frozen=True)
class Sample:
    """Files whose headers have been read; all of a small collection, or a random sample.

    Attributes:
        num_files: How many.
        num_unreadable: Those of them that cannot be read.
    """

    num_files: int = 0
    num_unreadable: int = 0

    def __add__(self, other: Sample) -> Sample:
        return Sample(self.num_files + other.num_files, self.num_unreadable + other.num_unreadable)


@dataclass(frozen=True)
class IndexedFiles:
    """Status of the image files of a split.

    Attributes:
        images: The files that are not known to be unreadable, in the given order.
        unreadable: The other files by name, with the reason.
        num_heic: HEIC files left out because the extra that reads them is not installed.
        sample: The files whose headers have been read.
        ignored: Other files in the folder, counted by suffix.
        bad_boxes: Boxes of annotations that are left out or cut, with the reason, one line each.
    """

    images: FileImages
    unreadable: dict[str, str]
    num_heic: int
    sample: Sample
    ignored: Counter[str] = field(default_factory=Counter)
    bad_boxes: Sequence[str] = ()

    @property
    def num_files(self) -> int:
        """Image files, whether they can be read or not."""
        return len(self.images) + len(self.unreadable) + self.num_heic


def index_files(root: Path, names: Sequence[str], index: HeaderIndex) -> IndexedFiles:
    """Check the headers of image files, or of a sample of many; labels are not set.

    Args:
        root: The folder that ``names`` are relative to.
        names: The files; absolute paths are allowed.
        index: The index of headers.
    """
    left_out = () if heic_is_readable() else tuple(HEIC)
    candidates = [name for name in names if not name.lower().endswith(left_out)]
    table = FileTable(os.path.abspath(root), candidates, unknown_rows(len(candidates)))
    return replace(index_table(root, table, index), num_heic=len(names) - len(candidates))


def index_table(root: Path, table: FileTable, index: HeaderIndex) -> IndexedFiles:
    """`index_files` of files of which it is known where they are.

    Args:
        root: The folder that their names are relative to.
        table: The files; what their headers say is filled in.
        index: The index of headers.
    """
    sample = table.spared(index.sample(len(table.names)))
    chosen = np.union1d(sample, index.known_unreadable(table.root, table.names))
    facts = index.inspect(table, chosen.tolist())
    reasons = {int(chosen[row]): reason for row, reason in facts.reasons.items()}
    for row in np.flatnonzero(facts.table[:, HEIGHT] * facts.table[:, WIDTH] > index.max_pixels):
        height, width = facts.table[row, [HEIGHT, WIDTH]].tolist()
        reasons[int(chosen[row])] = too_large(width, height, index.max_pixels) or ""
    table.rows[chosen] = facts.table
    readable = np.delete(np.arange(len(table.names)), list(reasons))
    images = FileImages(root, table, readable, decoding=Decoding(max_pixels=index.max_pixels))
    unreadable = {table.names[number]: reasons[number] for number in sorted(reasons)}
    num_bad = sum(number in reasons for number in sample.tolist())
    return IndexedFiles(images, unreadable, 0, Sample(len(sample), num_bad))
