"""Places205 (Zhou et al., NeurIPS 2014), from its unpacked archives.

The layout::

    ROOT/trainvalsplit_places205/{train,val}_places205.csv
    ROOT/data/vision/torralba/deeplearning/images256/a/abbey/*.jpg

A line of a ``.csv`` file is the path of an image, a space, and its class, 0 to 204.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.indexed_files import IndexedFiles, index_files
from quarterturn.errors import DataError

SPLITS = ("train", "val")
NUM_CLASSES = 205
LISTS = Path("trainvalsplit_places205")
IMAGES = Path("data/vision/torralba/deeplearning/images256")


class Listing(NamedTuple):
    """The images of a split, in the order of its list.

    Attributes:
        names: (n,) paths below the images' folder.
        labels: (n,) classes.
    """

    names: list[str]
    labels: list[int]


def index_places205(root: Path, index: HeaderIndex) -> dict[str, IndexedFiles]:
    """The images of ``train`` and ``val``, in the order of their lists.

    A class is named after the folder of its images, such as ``a/abbey``. Listed images that are
    missing count as unreadable.

    Args:
        root: The folder that holds the contents of both archives.
        index: The index of headers.

    Raises:
        DataError: A list is missing or malformed, or no image is where it should be.
    """
    listings = {split: _read_list(root / LISTS / f"{split}_places205.csv") for split in SPLITS}
    folder = root / IMAGES
    class_names = _class_names(listings)
    splits = {}
    for split, listing in listings.items():
        files = index_files(folder, listing.names, index)
        if len(files.images) == 0:
            raise DataError(
                f"none of the {len(listing.names):,} images of {split} exists; expected "
                f"{folder / listing.names[0]}"
            )
        label_of = dict(zip(*listing, strict=True))
        labels = np.array([label_of[name] for name in files.images.names], np.int64)
        images = replace(files.images, labels=labels, class_names=class_names)
        splits[split] = replace(files, images=images)
    return splits


def _read_list(file: Path) -> Listing:
    listing = Listing([], [])
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(
            f"no file {file}: expected train_places205.csv and val_places205.csv in {file.parent}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if not (name and label.isdecimal() and int(label) < NUM_CLASSES):
            raise DataError(
                f"{file} has {line!r} on line {number}; expected the path of an image, a space, "
                f"and its class, 0 to {NUM_CLASSES - 1}"
            )
        listing.names.append(name)
        listing.labels.append(int(label))
    if not listing.names:
        raise DataError(f"{file} lists no images")
    return listing


def _class_names(listings: dict[str, Listing]) -> list[str]:
    """The folder of each class; the class numbers if not every class has a folder of its own."""
    folders: dict[int, set[str]] = {}
    for listing in listings.values():
        for name, label in zip(*listing, strict=True):
            folders.setdefault(label, set()).add(name.rpartition("/")[0])
    all_folders = [folder for of_class in folders.values() for folder in of_class]
    if len(set(all_folders)) < len(all_folders) or len(all_folders) > len(folders):
        return [str(label) for label in range(NUM_CLASSES)]
    return [min(folders.get(label, {str(label)})) for label in range(NUM_CLASSES)]
