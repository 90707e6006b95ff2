"""One image by its name in a collection, or by its path."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from quarterturn.data.image_file import HEIC, UnreadableImageError, heic_is_readable, read_size
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.sources import Source
from quarterturn.errors import DataError

Place = tuple[str, int]
"""Split and number of an image of a collection."""

MOST_COMPARED = 20_000
"""Names that an unknown one is compared with; difflib would take minutes over a million."""


@dataclass(frozen=True)
class FoundImage:
    """An image that can be read.

    Attributes:
        name: What the collection calls it; for a file from outside, its path as it was given.
        images: Where it is read from.
        index: Its number there.
        places: Where it stands in the collection, first where it was found; none for a file from
            outside, several for a file that links lead to.
    """

    name: str
    images: ImageSet
    index: int
    places: tuple[Place, ...]


def find_image(source: Source, image: str) -> FoundImage:
    """Look an image up.

    Args:
        source: The collection.
        image: The path of an image file, or a name of the collection, with its split before it
            (``test/kitchen/12.jpg``) where two splits share the name.

    Raises:
        DataError: There is no such image, it may be one of several, or it cannot be read.
    """
    file = Path(os.path.expanduser(image))  # as pathlib does, but a name may begin with ~
    named = _places_named(source, image)
    of_file = _places_of_file(source, file)
    if file.is_file() and (others := [place for place in named if place not in of_file]):
        raise DataError(
            f"{image!r} is a file here, and another image has that name in the collection; give "
            f"{str(file.absolute())!r} for the file, or {_qualified(source, others[0])!r}"
        )
    if len(named) > 1 and not of_file:
        choices = " or ".join(repr(_qualified(source, place)) for place in named)
        raise DataError(f"{len(named)} images have the name {image!r}; give {choices}")
    if places := of_file or named:
        split, index = places[0]
        images = source.splits[split]
        if isinstance(images, FileImages) and not of_file:
            # Other links may lead to the same file.
            places += [p for p in _places_of_file(source, images.path(index)) if p != places[0]]
        found = FoundImage(images.names[index], images, index, tuple(places))
    elif file.is_file():
        found = FoundImage(image, _one_file(file), 0, ())
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
    """Where a file stands in the collection, under whatever name."""
    if not file.is_file():
        return []
    path, size = file.resolve(), file.stat().st_size
    return [
        (split, index)
        for split, images in source.splits.items()
        if isinstance(images, FileImages)
        # To resolve a million paths takes a minute; a file has one size.
        for index in np.flatnonzero(images.num_bytes == size).tolist()
        if images.path(index).resolve() == path
    ]


def _one_file(file: Path) -> FileImages:
    """A set of one file, so that it is read and cropped as the collection's are."""
    if not heic_is_readable() and file.suffix.lower() in HEIC:
        raise DataError(f"{file}: to read HEIC files: pip install 'quarterturn[heic]'")
    try:
        size = read_size(file)
    except UnreadableImageError as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    stat = file.stat()
    return FileImages(
        file.parent,
        [file.name],
        np.array([size]),
        np.array([stat.st_size]),
        np.array([stat.st_mtime_ns]),
        np.array([stat.st_ctime_ns]),
    )


def _qualified(source: Source, place: Place) -> str:
    split, index = place
    return f"{split}/{source.splits[split].names[index]}"


def _unknown(source: Source, image: str) -> str:
    if image in source.unreadable:
        return f"{image} cannot be read: {source.unreadable[image]}"
    names = [name for images in source.splits.values() for name in images.names]
    close = difflib.get_close_matches(image, islice(names, MOST_COMPARED), n=3)
    hint = f"close to it: {', '.join(close)}" if close else f"the first is {names[0]}"
    return (
        f"no file {image!r}, and none of the {len(names):,} images of {source.name} has that name; "
        f"{hint}"
    )
