"""The image files below a folder, in a fixed order, and their labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.image_file import HEIC, READABLE
from quarterturn.data.indexed_files import IndexedFiles, index_files
from quarterturn.data.split_folders import are_split_names, is_folder, split_of


def index_folder(root: Path, index: HeaderIndex) -> IndexedFiles:
    """The image files below a folder, named by their relative paths.

    Top-level sub-folders are classes if there are at least two and all images are in one. Where the
    only one is named as a split, its own sub-folders are.

    Args:
        root: The folder.
        index: The index of headers.
    """
    names, ignored = list_images(root)
    files = index_files(root, names, index)
    labels, class_names, unlabelled = folder_labels(files.images.names)
    images = replace(files.images, labels=labels, class_names=class_names, unlabelled=unlabelled)
    return replace(files, images=images, ignored=ignored)


def list_images(root: Path) -> tuple[list[str], Counter[str]]:
    """The names of all image files below a folder, and the other files, counted by suffix.

    Only directories are read here, no files: a million names take seconds.
    """
    names, ignored = [], Counter[str]()
    for below, files in _walk(root):
        for name in files:
            if is_image_name(name):
                names.append(below + name)
            elif name.startswith("."):
                ignored["hidden"] += 1
            else:
                ignored[_suffix(name) or "(no suffix)"] += 1
    return names, ignored


def list_files(root: Path) -> Iterator[str]:
    """The names of all files below a folder but hidden ones, in the order of `list_images`."""
    for below, files in _walk(root):
        yield from (below + name for name in files if not name.startswith("."))


def is_image_name(name: str) -> bool:
    """Whether a file is taken as an image by its name: a known suffix, and not hidden."""
    return not name.startswith(".") and (_suffix(name) in READABLE or _suffix(name) in HEIC)


def _suffix(name: str) -> str:
    start = name.rfind(".")
    return name[start:].lower() if start > 0 else ""


def _walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder below ``root``, as the prefix of its files' names, with these; follows links.

    The order is that of torchvision's ImageFolder, which sorts the classes, the folders within each
    class, and the files of each folder. Files beside the classes, which it does not read, come
    first here.
    """
    with os.scandir(root) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    yield "", [entry.name for entry in entries if not is_folder(entry)]
    above = _with_parents(os.path.realpath(root))
    start = len(os.path.join(root, ""))
    for entry in entries:
        if entry.name.startswith(".") or not is_folder(entry):
            continue
        if os.path.realpath(entry.path) in above:
            continue
        for folder, files in sorted(_walk_once(entry.path, above)):
            yield os.path.join(folder[start:], ""), sorted(files)


def _walk_once(directory: str, above: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders and their files; follows links, but never to a folder that contains the link.

    Args:
        directory: Where to start.
        above: Real paths of the folders that contain it.
    """
    containing_of = {directory: above}
    for folder, subfolders, files in os.walk(directory, followlinks=True):
        containing = containing_of.pop(folder) | _with_parents(os.path.realpath(folder))
        subfolders[:] = [
            s
            for s in subfolders
            if not s.startswith(".") and os.path.realpath(os.path.join(folder, s)) not in containing
        ]
        containing_of.update((os.path.join(folder, s), containing) for s in subfolders)
        yield folder, files


def _with_parents(folder: str) -> set[str]:
    return {folder, *map(str, Path(folder).parents)}


def folder_labels(names: Sequence[str]) -> tuple[NDArray[np.int64] | None, list[str], str]:
    """Sub-folders as classes, if there are at least two and all images are in one.

    Returns:
        Labels, class names, and "". Without classes None, no names, and why.
    """
    tops = _first_parts(names)
    class_names = sorted({top for top in tops if top is not None})
    if len(class_names) == 1 and None not in tops and split_of(class_names[0]) is not None:
        # A split by itself, such as train/ of a download: its classes are one level down.
        tops = _first_parts([name.partition(os.sep)[2] for name in names])
        class_names = sorted({top for top in tops if top is not None})
    if class_names and None in tops:
        beside = names[tops.index(None)]
        reason = f"{tops.count(None):,} images lie beside its sub-folders, such as {beside}"
        return None, [], reason
    if len(class_names) < 2:
        reason = f"all its images are in one sub-folder, {class_names[0]!r}" if class_names else ""
        return None, [], reason
    if are_split_names(class_names):
        reason = (
            f"its sub-folders {', '.join(map(repr, class_names))} are named as splits, not as "
            "classes; expected 'train' and another split, with a sub-folder for each class inside"
        )
        return None, [], reason
    number = {name: i for i, name in enumerate(class_names)}
    return np.array([number[top] for top in tops if top is not None]), class_names, ""


def _first_parts(names: Sequence[str]) -> list[str | None]:
    """The top-level folder of each name; None for a file that lies beside the folders."""
    return [top if below else None for top, _, below in (n.partition(os.sep) for n in names)]
