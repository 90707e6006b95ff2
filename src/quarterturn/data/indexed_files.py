"""Image files of a folder: readable ones, unreadable ones, and HEIC files left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
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


def index_files(root: Path, names: Sequence[str], index: HeaderIndex) -> IndexedFiles:
    """Check the headers of image files, or of a sample of many; labels are not set.

    Args:
        root: The folder that ``names`` are relative to.
        names: The files; absolute paths are allowed.
        index: The index of headers.
    """
    left_out = () if heic_is_readable() else tuple(HEIC)
    candidates = [name for name in names if not name.lower().endswith(left_out)]
    absolute_root = os.path.abspath(root)
    sample = index.sample(len(candidates))
    chosen = np.union1d(sample, index.known_unreadable(absolute_root, candidates))
    facts = index.inspect([os.path.join(absolute_root, candidates[i]) for i in chosen.tolist()])
    reasons = {int(chosen[row]): reason for row, reason in facts.reasons.items()}
    for row in np.flatnonzero(facts.table[:, HEIGHT] * facts.table[:, WIDTH] > index.max_pixels):
        height, width = facts.table[row, [HEIGHT, WIDTH]].tolist()
        reasons[int(chosen[row])] = too_large(width, height, index.max_pixels) or ""
    rows = unknown_rows(len(candidates))
    rows[chosen] = facts.table
    readable = np.delete(np.arange(len(candidates)), list(reasons))
    images = FileImages(
        root,
        FileTable(absolute_root, candidates, rows),
        readable,
        decoding=Decoding(max_pixels=index.max_pixels),
    )
    unreadable = {candidates[number]: reasons[number] for number in sorted(reasons)}
    num_bad = sum(number in reasons for number in sample.tolist())
    return IndexedFiles(
        images, unreadable, len(names) - len(candidates), Sample(len(sample), num_bad)
    )
