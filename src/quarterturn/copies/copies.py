"""The copies in a collection: groups of images that show the same picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from quarterturn.copies.duplicate_groups import Copy, duplicate_groups
from quarterturn.copies.keep_order import LARGEST, keep_order
from quarterturn.copies.listed_images import ListedImages
from quarterturn.copies.whole_pictures import WholePictures
from quarterturn.data.content_keys import content_keys


def copies_in(pictures: WholePictures, keep: str = LARGEST) -> list[list[Copy]]:
    """Groups of images that show the same picture, the one that is kept first.

    A file that is reached by several names, through links, is no copy of itself: only one of its
    names takes part.

    Args:
        pictures: The images.
        keep: Which of several copies is kept; see `keep_order`.

    Raises:
        ConfigError: There is no such folder to keep, or no image in it.
    """
    order = keep_order(pictures, keep)
    order = order[~is_other_name(pictures)[order]]
    return duplicate_groups(pictures.pixels, _keys(pictures), order)


def is_other_name(pictures: WholePictures) -> NDArray[np.bool_]:
    """(n,) whether an image is a link to a file of which another image is a name too.

    Of all names the file's own is the one that counts, or else the first.
    """
    by_file: dict[str, list[int]] = {}
    for place, file in enumerate(pictures.real_files):
        if file is not None:
            by_file.setdefault(file, []).append(place)
    found = np.zeros(len(pictures), bool)
    for places in by_file.values():
        if len(places) > 1:
            own = next((p for p in places if not pictures.is_link[p]), places[0])
            found[[place for place in places if place != own]] = True
    return found


def _keys(pictures: WholePictures) -> list[bytes]:
    """(n,) keys of the contents, the same for exact copies in whatever split."""
    every = {split: images for split, images in pictures.source.all_splits.items() if len(images)}
    keys = dict(zip(every, content_keys(list(every.values())), strict=True))
    rows = zip(pictures.splits, pictures.indices.tolist(), strict=True)
    return [keys[split][index] for split, index in rows]


def as_places_of(
    groups: list[list[Copy]], pictures: WholePictures, listed: ListedImages
) -> list[list[Copy]]:
    """The groups among the images of another list of the same collection.

    Args:
        groups: Of ``pictures``.
        pictures: Their list.
        listed: The other one; images that are not in it are left out.
    """
    rows = zip(listed.splits, listed.indices.tolist(), strict=True)
    place_of = {row: place for place, row in enumerate(rows)}
    own = list(zip(pictures.splits, pictures.indices.tolist(), strict=True))
    moved = [
        [replace(c, place=place_of[own[c.place]]) for c in group if own[c.place] in place_of]
        for group in groups
    ]
    return [group for group in moved if len(group) > 1 and not group[0].kind]
