"""Well-known data sets, by their names in NAME:ROOT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from quarterturn.data.cifar import read_cifar10, read_cifar100
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.imagenet import index_imagenet
from quarterturn.data.imageset import ImageSet
from quarterturn.data.indexed_files import IndexedFiles
from quarterturn.data.places205 import index_places205
from quarterturn.data.stl10 import read_stl10, read_stl10_unlabeled


class ArrayReader(Protocol):
    """Reads the splits of a well-known data set, ``train`` among them, into memory."""

    def __call__(self, root: Path, *, download: bool) -> Mapping[str, ImageSet]:
        """Read them from a folder; where ``download`` is set, fetch them first if need be."""


FileReader = Callable[[Path, HeaderIndex], Mapping[str, IndexedFiles]]
"""Finds the splits of a data set, ``train`` among them, whose images are files below a folder."""

ARRAYS: dict[str, ArrayReader] = {
    "cifar10": read_cifar10,
    "cifar100": read_cifar100,
    "stl10": read_stl10,
    "stl10-unlabeled": read_stl10_unlabeled,
}
"""Data sets that come as arrays in a few files, which torchvision reads and can fetch."""

FILES: dict[str, FileReader] = {"imagenet": index_imagenet, "places205": index_places205}
"""Data sets of image files, which nobody fetches for the user."""

NAMED = (*ARRAYS, *FILES)
"""What NAME may be in NAME:ROOT."""
