"""Images that are the same picture: copied, resized, recompressed, turned or mirrored.

The network proposes, since the invariant half finds a picture however it is turned, and so does the
mean of a thumbnail over its eight orientations, which needs no training. Equal bytes, or the
correlation of the pixels of two thumbnails laid on each other, decide.

Shapes: n images; D feature width; T side of a thumbnail; m pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from quarterturn.collection.survey import Survey
from quarterturn.data.content_keys import content_keys
from quarterturn.features.nearest_neighbors import find_nearest
from quarterturn.progress import stage

EXACT, NEAR, TURNED, MIRRORED = "exact", "near", "turned", "mirrored"
"""Kinds of copies: the same bytes; upright as the other; in another turn; in the mirror."""
NUM_PROPOSED = 10
"""Nearest neighbours of each image, by the features, that are compared with it."""
NUM_PROPOSED_BY_PIXELS = 5
"""The same by the thumbnails' means over orientations."""
MEAN_SIDE = 12
"""Pixels a side of thumbnails whose mean over orientations is taken, at least."""
CORRELATION = 0.95
"""Of two thumbnails' pixels, from which they show the same picture."""
COMPARED_SIDE = 24
"""Pixels a side at which thumbnails are compared, or their own: twice as many cost four times as
much, and found the same copies."""
PAIRS_PER_BLOCK = 4096


@dataclass(frozen=True)
class Copy:
    """An image of a group, as it lies to the first of the group.

    Attributes:
        place: Its place among the n.
        kind: `EXACT`, `NEAR`, `TURNED` or `MIRRORED`; empty for the first.
        angle: Degrees, counter-clockwise, by which it is turned; after it is mirrored left to
            right, where it is.
        score: Correlation of the pixels, 1 for equal bytes.
    """

    place: int
    kind: str = ""
    angle: int = 0
    score: float = 1.0


def duplicate_groups(survey: Survey) -> list[list[Copy]]:
    """Groups of images that show the same picture, the largest image first.

    Args:
        survey: The collection.

    Returns:
        Groups of two or more, larger groups first; of equal ones, the surest first.
    """
    with stage("duplicates"):
        keys, thumbnails = _keys(survey), _reduced(survey.thumbnails, COMPARED_SIDE)
        proposals = [
            _proposed(survey.features, NUM_PROPOSED),
            _proposed(_means_over_orientations(thumbnails), NUM_PROPOSED_BY_PIXELS),
            np.array([*_equal_pairs(keys)], np.int64).reshape(-1, 2),
        ]
        pairs = np.unique(np.sort(np.concatenate(proposals), axis=1), axis=0)
        is_same = _scores(thumbnails, pairs).max(axis=1) >= CORRELATION
        is_same |= np.array([keys[first] == keys[second] for first, second in pairs.tolist()], bool)
        found = pairs[is_same]
        links = coo_array((np.ones(len(found)), found.T), shape=(len(survey), len(survey)))
        _, group = connected_components(links, directed=False)
        members = defaultdict(list)
        for place in np.flatnonzero(np.bincount(group)[group] > 1).tolist():
            members[group[place]].append(place)
        groups = [_described(survey, keys, thumbnails, places) for places in members.values()]
    return sorted(groups, key=lambda group: (-len(group), -group[1].score, group[0].place))


def _described(
    survey: Survey, keys: list[bytes], thumbnails: NDArray[np.uint8], places: list[int]
) -> list[Copy]:
    """A group's images as they lie to the largest of them."""
    first, *others = sorted(places, key=lambda place: (-_num_pixels(survey, place), place))
    pairs = np.array([(first, other) for other in others])
    copies = [Copy(first)]
    for other, scores in zip(others, _scores(thumbnails, pairs), strict=True):
        if keys[first] == keys[other]:
            copies.append(Copy(other, EXACT))
            continue
        best = int(scores.argmax())
        is_mirrored, turns = divmod(best, 4)
        kind = MIRRORED if is_mirrored else TURNED if turns else NEAR
        copies.append(Copy(other, kind, 90 * turns, float(scores[best])))
    return copies


def _num_pixels(survey: Survey, place: int) -> int:
    return int(survey.images(place).sizes[survey.indices[place]].prod())


def _keys(survey: Survey) -> list[bytes]:
    """(n,) keys of the contents, the same for exact copies in whatever split."""
    every = {split: images for split, images in survey.source.all_splits.items() if len(images)}
    keys = dict(zip(every, content_keys(list(every.values())), strict=True))
    rows = zip(survey.splits, survey.indices.tolist(), strict=True)
    return [keys[split][index] for split, index in rows]


def _equal_pairs(keys: list[bytes]) -> Iterator[tuple[int, int]]:
    """Each image with the first of the same contents."""
    firsts: dict[bytes, int] = {}
    for place, key in enumerate(keys):
        first = firsts.setdefault(key, place)
        if first != place:
            yield first, place


def _proposed(features: NDArray[np.float32], number: int) -> NDArray[np.int64]:
    """(m, 2) each image with its nearest neighbours."""
    own = np.arange(len(features))[:, None]
    rows = find_nearest(features, features, number, excluded=own).rows.numpy()
    return np.stack([np.broadcast_to(own, rows.shape), rows], axis=-1).reshape(-1, 2)


def _means_over_orientations(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, d) that are the same for a picture however it is turned or mirrored."""
    small = _reduced(thumbnails, MEAN_SIDE)
    middle = (small.shape[1] + 1) // 2
    means = np.empty((len(small), middle, middle, 3), np.float32)
    for start in range(0, len(small), PAIRS_PER_BLOCK):
        block = _standardised(small[start : start + PAIRS_PER_BLOCK])
        both = np.stack([block, block[:, :, ::-1]])
        mean = np.mean([np.rot90(both, turns, axes=(2, 3)) for turns in range(4)], axis=(0, 1))
        means[start : start + len(block)] = mean[:, :middle, :middle]  # the rest repeats it
    return means.reshape(len(small), -1)


def _standardised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(m, T, T, 3) of mean 0 and length 1 each; zeros for a picture of one colour.

    Such a picture correlates with none: of two black frames only equal bytes say that they are one.
    """
    pixels = thumbnails.astype(np.float32)
    pixels -= pixels.mean(axis=(1, 2, 3), keepdims=True)
    length = np.sqrt((pixels**2).sum(axis=(1, 2, 3), keepdims=True))
    return np.where(length > 1e-3, pixels / np.maximum(length, 1e-3), 0)


def _reduced(thumbnails: NDArray[np.uint8], least: int) -> NDArray[np.uint8]:
    """(n, t, t, 3) with t at least ``least``, by means over squares of pixels."""
    count, side = thumbnails.shape[:2]
    factor = side // least
    if factor < 2 or side % factor:
        return thumbnails
    reduced = np.empty((count, side // factor, side // factor, 3), np.uint8)
    for start in range(0, count, PAIRS_PER_BLOCK):
        block = thumbnails[start : start + PAIRS_PER_BLOCK]
        squares = block.reshape(len(block), side // factor, factor, side // factor, factor, 3)
        reduced[start : start + len(block)] = squares.mean(axis=(2, 4), dtype=np.float32).round()
    return reduced


def _scores(thumbnails: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """(m, 8) correlation of the second image with the first in eight orientations.

    Column k is for the first turned by k quarter turns, counter-clockwise; 4 + k for the same after
    it was mirrored left to right.
    """
    found = np.zeros((len(pairs), 8), np.float32)
    for start in range(0, len(pairs), PAIRS_PER_BLOCK):
        block = pairs[start : start + PAIRS_PER_BLOCK]
        first, second = (_standardised(thumbnails[places]) for places in block.T)
        for column in range(8):
            is_mirrored, turns = divmod(column, 4)
            laid = np.rot90(first[:, :, ::-1] if is_mirrored else first, turns, axes=(1, 2))
            found[start : start + len(block), column] = np.einsum(
                "ij,ij->i", laid.reshape(len(block), -1), second.reshape(len(block), -1)
            )
    return found
