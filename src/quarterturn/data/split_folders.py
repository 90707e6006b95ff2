"""Sub-folders that are splits, by their names: ``train``, ``Test``, ``valid`` and the like."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from quarterturn.errors import DataError

NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Each split and the folder names that mean it, in any case."""

_SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}


def split_of(folder: str) -> str | None:
    """The split that a folder's name means: ``train``, ``val`` or ``test``; None for no split."""
    return _SPLIT_OF.get(folder.lower())


def are_split_names(names: Iterable[str]) -> bool:
    """Whether there are names, and all of them mean splits rather than classes."""
    listed = list(names)
    return bool(listed) and all(split_of(name) is not None for name in listed)


@dataclass(frozen=True)
class SplitFolders:
    """The top level of a folder that holds splits.

    Attributes:
        folders: Split to the name of its folder, ``train`` first; empty if the folder has no split
            ``train`` with another one beside it.
        others: The other sub-folders.
    """

    folders: dict[str, str]
    others: list[str]


def find_split_folders(root: Path) -> SplitFolders:
    """Find the splits of a folder by the names of its sub-folders.

    Where several names mean one split, the one written exactly ``train``, ``val`` or ``test`` is
    that split.

    Raises:
        DataError: Several folders mean one split, and none has its exact name.
    """
    with os.scandir(root) as scanned:
        folders = sorted(e.name for e in scanned if is_folder(e) and not e.name.startswith("."))
    named: dict[str, list[str]] = {split: [] for split in NAMES}
    for folder in folders:
        if (split := split_of(folder)) is not None:
            named[split].append(folder)
    found = {split: names for split, names in named.items() if names}
    if "train" not in found or len(found) == 1:
        return SplitFolders({}, folders)
    chosen = {}
    for split, names in found.items():
        if len(names) > 1 and split not in names:
            raise DataError(
                f"{root} has the folders {', '.join(map(repr, names))}, which all mean the split "
                f"{split!r}; rename one to {split!r}, or move the others away"
            )
        chosen[split] = split if split in names else names[0]
    return SplitFolders(chosen, [name for name in folders if name not in chosen.values()])


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether a directory entry is a folder or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False
