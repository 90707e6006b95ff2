"""Image files with their headers read: readable ones, unreadable ones, and HEIC files left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from quarterturn.data.header_index import BYTES, CHANGED_NS, HEIGHT, MODIFIED_NS, WIDTH, HeaderIndex
from quarterturn.data.image_file import HEIC, heic_is_readable
from quarterturn.data.imageset import FileImages


@dataclass(frozen=True)
class IndexedFiles:
    """Status of the image files of a split.

    Attributes:
        images: The files with a readable header, in the given order.
        unreadable: The other files by name, with the reason.
        num_heic: HEIC files left out because the extra that reads them is not installed.
        ignored: Other files in the folder, counted by suffix.
    """

    images: FileImages
    unreadable: dict[str, str]
    num_heic: int
    ignored: Counter[str] = field(default_factory=Counter)


def index_files(root: Path, names: Sequence[str], index: HeaderIndex) -> IndexedFiles:
    """Read the headers of image files, or take them from the index; labels are not set.

    Args:
        root: The folder that ``names`` are relative to.
        names: The files; absolute paths are allowed.
        index: The index of headers.
    """
    left_out = () if heic_is_readable() else tuple(HEIC)
    candidates = [name for name in names if not name.lower().endswith(left_out)]
    absolute_root = os.path.abspath(root)
    facts = index.inspect([os.path.join(absolute_root, name) for name in candidates])
    readable = np.flatnonzero(facts.table[:, HEIGHT] > 0)
    table = facts.table[readable]
    images = FileImages(
        root,
        [candidates[number] for number in readable],
        table[:, [HEIGHT, WIDTH]],
        table[:, BYTES].copy(),
        table[:, MODIFIED_NS].copy(),
        table[:, CHANGED_NS].copy(),
    )
    unreadable = {candidates[number]: facts.reasons[number] for number in sorted(facts.reasons)}
    return IndexedFiles(images, unreadable, len(names) - len(candidates))
