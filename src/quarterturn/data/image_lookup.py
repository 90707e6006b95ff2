"""Find one image by its name in a collection, or by its path."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from quarterturn.data.file_table import FileTable, unknown_rows
from quarterturn.data.image_file import (
    AS_THEY_ARE,
    HEIC,
    UnreadableImageError,
    heic_is_readable,
)
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.source import Source
from quarterturn.errors import DataError

Place = tuple[str, int]
"""Split and number of an image in a collection."""

MAX_COMPARED = 20_000
"""Names compared with an unknown one; difflib would take minutes over a million."""


@dataclass(frozen=True)
class FoundImage:
    """An image that was found and can be read.

    Attributes:
        name: Its name in the collection; for a file from outside, its path as given.
        images: The image set that holds it.
        index: Its number in ``images``.
        places: Its places in the collection, first the one where it was found; none for a file
            from outside, several for a file with links to it.
    """

    name: str
    images: ImageSet
    index: int
    places: tuple[Place, ...]


def find_image(source: Source, image: str) -> FoundImage:
    """Look up an image.

    Args:
        source: The collection.
        image: The path of an image file, or a name in the collection, prefixed with its split
            (``test/kitchen/12.jpg``) if two splits share the name.

    Raises:
        DataError: There is no such image, it is ambiguous, or it cannot be read.
    """
    file = Path(os.path.expanduser(image))  # unlike pathlib, accepts names with a ~
    named = _places_named(source, image)
    of_file = _places_of_file(source, file)
    if file.is_file() and (others := [place for place in named if place not in of_file]):
        raise DataError(
            f"{image!r} is a file, and also the name of another image in the collection; give "
            f"{str(file.absolute())!r} for the file, or {_qualified(source, others[0])!r}"
        )
    if len(named) > 1 and not of_file:
        choices = " or ".join(repr(_qualified(source, place)) for place in named)
        raise DataError(f"{len(named)} images are named {image!r}; give {choices}")
    if places := of_file or named:
        split, index = places[0]
        images = source.splits[split]
        if isinstance(images, FileImages) and not of_file:
            # Other links may lead to the same file.
            places += [p for p in _places_of_file(source, images.path(index)) if p != places[0]]
        found = FoundImage(images.names[index], images, index, tuple(places))
    elif file.is_file():
        found = FoundImage(image, _one_file(file, source), 0, ())
    else:
        raise DataError(_unknown(source, image))
    try:
        found.images.read(found.index)
    except UnreadableImageError as error:
        raise DataError(f"{image} cannot be read: {error}") from error
    return found


def _places_named(source: Source, image: str) -> list[Place]:
    return [
        (split, index)
        for split, images in source.splits.items()
        for index, name in enumerate(images.names)
        if image in (name, f"{split}/{name}")
    ]


def _places_of_file(source: Source, file: Path) -> list[Place]:
    """The places of a file in the collection, under any name."""
    if not file.is_file():
        return []
    path, size = file.resolve(), file.stat().st_size
    return [
        (split, index)
        for split, images in source.splits.items()
        if isinstance(images, FileImages)
        # Resolving a million paths takes a minute; comparing sizes first is fast.
        for index in np.flatnonzero(images.num_bytes == size).tolist()
        if images.path(index).resolve() == path
    ]


def _one_file(file: Path, like: Source) -> FileImages:
    """An image set of one file, to be read and cropped like the collection's."""
    collection = like.train
    decoding = collection.decoding if isinstance(collection, FileImages) else AS_THEY_ARE
    if not heic_is_readable() and file.suffix.lower() in HEIC:
        raise DataError(f"{file} is a HEIC file; to read it: pip install 'quarterturn[heic]'")
    table = FileTable(os.path.abspath(file.parent), [file.name], unknown_rows(1))
    return FileImages(file.parent, table, np.arange(1), decoding=decoding)


def _qualified(source: Source, place: Place) -> str:
    split, index = place
    return f"{split}/{source.splits[split].names[index]}"


def _unknown(source: Source, image: str) -> str:
    if image in source.unreadable:
        return f"{image} cannot be read: {source.unreadable[image]}"
    names = [name for images in source.splits.values() for name in images.names]
    close = difflib.get_close_matches(image, islice(names, MAX_COMPARED), n=3)
    hint = f"similar names: {', '.join(close)}" if close else f"the first image is {names[0]}"
    return (
        f"no file {image!r}, and none of the {len(names):,} images of {source.name} has that name; "
        f"{hint}"
    )
