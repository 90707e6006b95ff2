"""Image files with their headers read: readable ones, unreadable ones, and HEIC files left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from quarterturn.data.header_index import BYTES, CHANGED_NS, HEIGHT, MODIFIED_NS, WIDTH, HeaderIndex
from quarterturn.data.image_file import HEIC, Decoding, heic_is_readable, too_large
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
    reasons, is_readable = dict(facts.reasons), facts.table[:, HEIGHT] > 0
    pixels = facts.table[:, HEIGHT] * facts.table[:, WIDTH]
    for number in np.flatnonzero(pixels > index.max_pixels).tolist():
        height, width = facts.table[number, [HEIGHT, WIDTH]].tolist()
        reasons[number] = too_large(width, height, index.max_pixels) or ""
        is_readable[number] = False
    readable = np.flatnonzero(is_readable)
    table = facts.table[readable]
    images = FileImages(
        root,
        [candidates[number] for number in readable],
        table[:, [HEIGHT, WIDTH]],
        table[:, BYTES].copy(),
        table[:, MODIFIED_NS].copy(),
        table[:, CHANGED_NS].copy(),
        decoding=Decoding(max_pixels=index.max_pixels),
    )
    unreadable = {candidates[number]: reasons[number] for number in sorted(reasons)}
    return IndexedFiles(images, unreadable, len(names) - len(candidates))
