"""Image files behind one index: headers read, unreadable files listed, HEIC told apart."""

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
    """What became of the image files of a split.

    Attributes:
        images: Those whose headers can be read, in the order of the list.
        unreadable: The others by name, with the reason.
        num_heic: HEIC files, left out where the extra that reads them is not installed.
        ignored: Files beside them that are no images, counted by suffix.
    """

    images: FileImages
    unreadable: dict[str, str]
    num_heic: int
    ignored: Counter[str] = field(default_factory=Counter)


def index_files(root: Path, names: Sequence[str], index: HeaderIndex) -> IndexedFiles:
    """Read the headers of image files, or take them from an index; without labels.

    Args:
        root: The folder that ``names`` are relative to.
        names: The files; an absolute path stands for itself.
        index: Where headers are read, and kept.
    """
    left_out = () if heic_is_readable() else tuple(HEIC)
    candidates = [name for name in names if not name.lower().endswith(left_out)]
    above = os.path.abspath(root)
    facts = index.inspect([os.path.join(above, name) for name in candidates])
    good = np.flatnonzero(facts.table[:, HEIGHT] > 0)
    of_good = facts.table[good]
    images = FileImages(
        root,
        [candidates[number] for number in good],
        of_good[:, [HEIGHT, WIDTH]],
        of_good[:, BYTES].copy(),
        of_good[:, MODIFIED_NS].copy(),
        of_good[:, CHANGED_NS].copy(),
    )
    unreadable = {candidates[number]: facts.reasons[number] for number in sorted(facts.reasons)}
    return IndexedFiles(images, unreadable, len(names) - len(candidates))
