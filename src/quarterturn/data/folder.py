"""Image files below a folder: which they are, in which order, and what is left out."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.decode import (
    HEIC,
    READABLE,
    UnreadableImageError,
    heic_is_readable,
    read_image,
    read_size,
)
from quarterturn.data.imageset import FileImages


@dataclass(frozen=True)
class Folder:
    """What was found below a folder.

    Attributes:
        images: The image files whose headers can be read.
        unreadable: The others by their path below the folder, with the reason.
        ignored: Files that are no images, counted by suffix.
        num_heic: HEIC files, where the extra that reads them is not installed.
    """

    images: FileImages
    unreadable: dict[str, str]
    ignored: Counter[str]
    num_heic: int


def index_folder(root: Path, *, verify: bool = False) -> Folder:
    """Read the headers of all image files below a folder.

    Args:
        root: The folder.
        verify: Decode every file in full.
    """
    readable = READABLE | HEIC if heic_is_readable() else READABLE
    candidates, ignored, num_heic = [], Counter[str](), 0
    for path in _walk(root):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            ignored["hidden"] += 1
        elif suffix in readable:
            candidates.append(path)
        elif suffix in HEIC:
            num_heic += 1
        else:
            ignored[suffix or "(no suffix)"] += 1

    def inspect(path: Path) -> tuple[tuple[int, int], int] | str:
        try:
            size = read_size(path)
            if verify:
                read_image(path)
            return size, path.stat().st_size
        except UnreadableImageError as error:
            return str(error)

    names, sizes, num_bytes, unreadable = [], [], [], {}
    # Threads wait for the disk together; decoding releases the interpreter lock as well.
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=8) as pool:
        warnings.simplefilter("ignore")  # damaged metadata in a picture that reads well
        for path, found in zip(candidates, pool.map(inspect, candidates), strict=True):
            name = str(path.relative_to(root))
            if isinstance(found, str):
                unreadable[name] = found
            else:
                names.append(name)
                sizes.append(found[0])
                num_bytes.append(found[1])
    labels, class_names = _labels_of(names)
    images = FileImages(
        root,
        names,
        np.array(sizes, dtype=np.int64).reshape(-1, 2),
        np.array(num_bytes, dtype=np.int64),
        labels,
        class_names,
    )
    return Folder(images, unreadable, ignored, num_heic)


def _walk(root: Path) -> Iterator[Path]:
    """Every file below ``root``, links followed, in the order of torchvision's ImageFolder.

    ImageFolder takes the classes in sorted order, and within each sorts the walked directories
    and then their files. Files beside the classes, which it does not read, come first here.
    """
    entries = sorted(root.iterdir(), key=lambda p: p.name)
    yield from (p for p in entries if not p.is_dir())
    above = _with_parents(os.path.realpath(root))
    for directory in (p for p in entries if p.is_dir() and not p.name.startswith(".")):
        if os.path.realpath(directory) in above:
            continue
        for folder, files in sorted(_walk_once(directory, above)):
            yield from (Path(folder) / name for name in sorted(files))


def _walk_once(directory: Path, above: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders and their files, with links followed, but never into a folder that contains itself.

    Args:
        directory: Where to begin.
        above: Real paths of the folders that led there.
    """
    led_here = {str(directory): above}
    for folder, subfolders, files in os.walk(directory, followlinks=True):
        containing = led_here.pop(folder) | _with_parents(os.path.realpath(folder))
        subfolders[:] = [
            s
            for s in subfolders
            if not s.startswith(".") and os.path.realpath(os.path.join(folder, s)) not in containing
        ]
        led_here.update((os.path.join(folder, s), containing) for s in subfolders)
        yield folder, files


def _with_parents(folder: str) -> set[str]:
    return {folder, *map(str, Path(folder).parents)}


def _labels_of(names: list[str]) -> tuple[NDArray[np.int64] | None, list[str]]:
    """Top-level sub-folders as classes, where every image is in one and there are two or more."""
    tops = [Path(name).parts[0] if len(Path(name).parts) > 1 else None for name in names]
    class_names = sorted({top for top in tops if top is not None})
    if len(class_names) < 2 or None in tops:
        return None, []
    number = {name: i for i, name in enumerate(class_names)}
    return np.array([number[top] for top in tops if top is not None]), class_names
