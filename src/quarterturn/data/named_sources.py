"""The well-known data sets that NAME:ROOT opens. A new one is a reader and a line in the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from quarterturn.data.cifar import read_cifar10, read_cifar100
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.imagenet import index_imagenet
from quarterturn.data.imageset import ImageSet
from quarterturn.data.indexed_files import IndexedFiles
from quarterturn.data.places205 import index_places205
from quarterturn.data.stl10 import read_stl10, read_stl10_unlabeled
from quarterturn.data.voc import index_voc, index_voc2007


class ArrayReader(Protocol):
    """Reads the splits of a data set into memory, ``train`` among them."""

    def __call__(self, root: Path, *, download: bool) -> Mapping[str, ImageSet]:
        """Read the splits below ``root``; with ``download``, fetch the files that are missing."""


@dataclass(frozen=True)
class ArraySource:
    """A data set that comes as arrays in a few files, which torchvision reads and can fetch."""

    read: ArrayReader


@dataclass(frozen=True)
class FileSource:
    """A data set of image files, which the user fetches.

    Attributes:
        index_splits: The folder ROOT and an index of headers to the splits, ``train`` among them.
    """

    index_splits: Callable[[Path, HeaderIndex], Mapping[str, IndexedFiles]]


NAMED_SOURCES: dict[str, ArraySource | FileSource] = {
    "cifar10": ArraySource(read_cifar10),
    "cifar100": ArraySource(read_cifar100),
    "stl10": ArraySource(read_stl10),
    "stl10-unlabeled": ArraySource(read_stl10_unlabeled),
    "imagenet": FileSource(index_imagenet),
    "places205": FileSource(index_places205),
    "voc2007": FileSource(index_voc2007),
    "voc": FileSource(index_voc),
}
"""Data sets by the NAME in NAME:ROOT."""
