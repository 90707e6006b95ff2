"""Images that are in a collection twice: within a split, in two splits, or under two labels.

Shapes: n images that can be read, over all splits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quarterturn.copies.duplicate_groups import EXACT, MIRRORED, duplicate_groups
from quarterturn.data.content_keys import content_keys
from quarterturn.data.label_sets import words_of
from quarterturn.inspecting.inspection import Inspection

SAME_BYTES, SAME_PICTURE = "the same bytes", "the same picture"


@dataclass(frozen=True)
class Repeat:
    """An image that repeats another one.

    Attributes:
        place: Its place among the n.
        of: The place of the first image of the same contents.
        how: In words, such as ``the same bytes`` or ``the same picture, turned by 90°``.
        labels: Its label and the other's, where it is their difference that was found.
    """

    place: int
    of: int
    how: str
    labels: tuple[str, str] | None = None


@dataclass
class Repeats:
    """All images of a collection that repeat another one.

    Attributes:
        within: Copies in the split of the first.
        across: Copies in another split than the first, which is of the training images where one
            of them is.
        relabelled: Copies whose label is another than the first one's, in whatever split.
    """

    within: list[Repeat] = field(default_factory=list)
    across: list[Repeat] = field(default_factory=list)
    relabelled: list[Repeat] = field(default_factory=list)


def find_repeats(found: Inspection) -> Repeats:
    """Copies by content; between splits, also resized, recompressed, turned and mirrored ones.

    Args:
        found: The images, those of ``train`` first.
    """
    every = {split: found.source.all_splits[split] for split in found.split_names}
    of_splits = content_keys(list(every.values()))
    rows = zip(found.splits.tolist(), found.indices.tolist(), strict=True)
    keys = [of_splits[split][index] for split, index in rows]
    repeats = _exact(found, keys)
    if found.thumbnails is not None:
        known = {repeat.place for repeat in repeats.across}
        near = _alike(found, found.thumbnails, keys)
        repeats.across += [repeat for repeat in near if repeat.place not in known]
    return repeats


def _exact(found: Inspection, keys: Sequence[bytes]) -> Repeats:
    """Files of the same bytes, arrays of the same pixels."""
    firsts: dict[tuple[int, bytes], int] = {}
    first_of_all: dict[bytes, int] = {}
    repeats = Repeats()
    for place, (split, key) in enumerate(zip(found.splits.tolist(), keys, strict=True)):
        first = first_of_all.setdefault(key, place)
        first_here = firsts.setdefault((split, key), place)
        if first_here != place:
            repeats.within.append(Repeat(place, first_here, SAME_BYTES))
        if found.splits[first] != split:
            repeats.across.append(Repeat(place, first, SAME_BYTES))
        labels = _label(found, place), _label(found, first)
        if all(labels) and labels[0] != labels[1]:
            repeats.relabelled.append(Repeat(place, first, SAME_BYTES, labels))
    return repeats


def _alike(
    found: Inspection, thumbnails: NDArray[np.uint8], keys: Sequence[bytes]
) -> Iterator[Repeat]:
    """Images of one split that show the picture of an image of another."""
    for first, *copies in duplicate_groups(thumbnails, keys, np.arange(len(keys))):
        for copy in copies:
            if found.splits[copy.place] != found.splits[first.place] and copy.kind != EXACT:
                turned = f", turned by {copy.angle}°" if copy.angle else ""
                words = SAME_PICTURE + (", mirrored" if copy.kind == MIRRORED else "") + turned
                yield Repeat(copy.place, first.place, words)


def _label(found: Inspection, place: int) -> str:
    """The label of an image in words; empty where it has none."""
    images, index = found.images(place), int(found.indices[place])
    if images.label_sets is not None:
        return words_of(images.label_sets[index], images.class_names)
    if images.labels is None or images.labels[index] < 0:
        return ""
    return images.class_names[images.labels[index]]
