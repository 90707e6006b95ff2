"""Image files below a folder: which they are, in which order, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.decode import HEIC, READABLE
from quarterturn.data.files import IndexedFiles, index_files


@dataclass(frozen=True)
class Folder:
    """What was found below a folder.

    Attributes:
        files: Its image files; named by their path below the folder.
        ignored: Files that are no images, counted by suffix.
    """

    files: IndexedFiles
    ignored: Counter[str]


def index_folder(root: Path, *, verify: bool = False) -> Folder:
    """Read the headers of all image files below a folder.

    Args:
        root: The folder.
        verify: Decode every file in full.
    """
    names, ignored = [], Counter[str]()
    for path in _walk(root):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            ignored["hidden"] += 1
        elif suffix in READABLE | HEIC:
            names.append(str(path.relative_to(root)))
        else:
            ignored[suffix or "(no suffix)"] += 1
    files = index_files(root, names, verify=verify)
    labels, class_names = _labels_of(files.images.names)
    images = replace(files.images, labels=labels, class_names=class_names)
    return Folder(replace(files, images=images), ignored)


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


def _labels_of(names: Sequence[str]) -> tuple[NDArray[np.int64] | None, list[str]]:
    """Top-level sub-folders as classes, where every image is in one and there are two or more."""
    tops = [Path(name).parts[0] if len(Path(name).parts) > 1 else None for name in names]
    class_names = sorted({top for top in tops if top is not None})
    if len(class_names) < 2 or None in tops:
        return None, []
    number = {name: i for i, name in enumerate(class_names)}
    return np.array([number[top] for top in tops if top is not None]), class_names
