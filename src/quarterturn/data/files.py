"""Image files behind one index: headers read, unreadable files listed, HEIC told apart."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quarterturn.data.decode import (
    HEIC,
    UnreadableImageError,
    heic_is_readable,
    read_image,
    read_size,
)
from quarterturn.data.imageset import FileImages


@dataclass(frozen=True)
class IndexedFiles:
    """What became of a list of image files.

    Attributes:
        images: Those whose headers can be read, in the order of the list; without labels.
        unreadable: The others by name, with the reason.
        num_heic: HEIC files, left out where the extra that reads them is not installed.
    """

    images: FileImages
    unreadable: dict[str, str]
    num_heic: int


def index_files(root: Path, names: Sequence[str], *, verify: bool = False) -> IndexedFiles:
    """Read the headers of image files.

    Args:
        root: The folder that ``names`` are relative to.
        names: The files; an absolute path stands for itself.
        verify: Decode every file in full.
    """
    left_out = frozenset() if heic_is_readable() else HEIC
    candidates = [name for name in names if Path(name).suffix.lower() not in left_out]

    def inspect(name: str) -> tuple[tuple[int, int], os.stat_result] | str:
        path = root / name
        try:
            size = read_size(path)
            if verify:
                read_image(path)
            return size, path.stat()
        except UnreadableImageError as error:
            return str(error)

    good, sizes, stats, unreadable = [], [], [], {}
    # Threads wait for the disk together; decoding releases the interpreter lock as well.
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=8) as pool:
        warnings.simplefilter("ignore")  # damaged metadata in a picture that reads well
        for name, found in zip(candidates, pool.map(inspect, candidates), strict=True):
            if isinstance(found, str):
                unreadable[name] = found
            else:
                good.append(name)
                sizes.append(found[0])
                stats.append(found[1])
    images = FileImages(
        root,
        good,
        np.array(sizes, dtype=np.int64).reshape(-1, 2),
        np.array([stat.st_size for stat in stats], dtype=np.int64),
        np.array([stat.st_mtime_ns for stat in stats], dtype=np.int64),
    )
    return IndexedFiles(images, unreadable, len(names) - len(candidates))
