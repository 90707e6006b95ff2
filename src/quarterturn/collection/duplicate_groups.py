"""Images that are the same picture: copied, resized, recompressed, turned or mirrored.

The network proposes, since the invariant half finds a picture however it is turned; equal bytes, or
the correlation of the pixels of two thumbnails laid on each other, decide.

Shapes: n images; D feature width; T side of a thumbnail; m pairs.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from quarterturn.collection.survey import Survey
from quarterturn.data.imageset import ArrayImages, FileImages
from quarterturn.features.nearest_neighbors import find_nearest
from quarterturn.progress import stage

EXACT, NEAR, TURNED, MIRRORED = "exact", "near", "turned", "mirrored"
"""Kinds of copies: the same bytes; upright as the other; in another turn; in the mirror."""
NUM_PROPOSED = 10
"""Nearest neighbours of each image that are compared with it."""
CORRELATION = 0.95
"""Of two thumbnails' pixels, from which they show the same picture."""
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
        digests = _digests(survey)
        pairs = np.array([*_equal_pairs(digests), *_proposed(survey.features)], np.int64)
        is_same = _scores(survey.thumbnails, pairs).max(axis=1) >= CORRELATION
        is_same |= np.array([_is_equal(digests, *pair) for pair in pairs.tolist()], bool)
        found = pairs[is_same]
        links = coo_array((np.ones(len(found)), found.T), shape=(len(survey), len(survey)))
        _, group = connected_components(links, directed=False)
        members = defaultdict(list)
        for place in np.flatnonzero(np.bincount(group)[group] > 1).tolist():
            members[group[place]].append(place)
        groups = [_described(survey, digests, places) for places in members.values()]
    return sorted(groups, key=lambda group: (-len(group), -group[1].score, group[0].place))


def _described(survey: Survey, digests: dict[int, str], places: list[int]) -> list[Copy]:
    """A group's images as they lie to the largest of them."""
    first, *others = sorted(places, key=lambda place: (-_num_pixels(survey, place), place))
    pairs = np.array([(first, other) for other in others])
    copies = [Copy(first)]
    for other, scores in zip(others, _scores(survey.thumbnails, pairs), strict=True):
        if _is_equal(digests, first, other):
            copies.append(Copy(other, EXACT))
            continue
        best = int(scores.argmax())
        is_mirrored, turns = divmod(best, 4)
        kind = MIRRORED if is_mirrored else TURNED if turns else NEAR
        copies.append(Copy(other, kind, 90 * turns, float(scores[best])))
    return copies


def _num_pixels(survey: Survey, place: int) -> int:
    return int(survey.images(place).sizes[survey.indices[place]].prod())


def _digests(survey: Survey) -> dict[int, str]:
    """Place to a hash of the contents, of images that may have an equal."""
    sizes = np.array([_num_bytes(survey, place) for place in range(len(survey))])
    _, which, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    candidates = np.flatnonzero((counts[which] > 1) & (sizes > 0))
    digests = {}
    for place in candidates.tolist():
        if (contents := _contents(survey, place)) is not None:
            digests[place] = hashlib.sha256(contents).hexdigest()
    return digests


def _num_bytes(survey: Survey, place: int) -> int:
    """Bytes of an image as it is stored; 0 where it cannot be compared byte by byte."""
    images, index = survey.images(place), int(survey.indices[place])
    if isinstance(images, FileImages):
        return int(images.num_bytes[index])
    return images.pixels[index].nbytes if isinstance(images, ArrayImages) else 0


def _contents(survey: Survey, place: int) -> bytes | None:
    images, index = survey.images(place), int(survey.indices[place])
    if isinstance(images, ArrayImages):
        return images.pixels[index].tobytes()
    assert isinstance(images, FileImages)
    try:
        return images.path(index).read_bytes()
    except OSError:  # it has gone since
        return None


def _is_equal(digests: dict[int, str], first: int, second: int) -> bool:
    return first in digests and digests[first] == digests.get(second)


def _equal_pairs(digests: dict[int, str]) -> Iterator[tuple[int, int]]:
    """Each image with the first of the same contents."""
    firsts: dict[str, int] = {}
    for place, digest in digests.items():
        first = firsts.setdefault(digest, place)
        if first != place:
            yield first, place


def _proposed(features: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Each image with its nearest neighbours, each pair once."""
    own = np.arange(len(features))[:, None]
    rows = find_nearest(features, features, NUM_PROPOSED, excluded=own).rows.numpy()
    pairs = np.stack([np.broadcast_to(own, rows.shape), rows], axis=-1).reshape(-1, 2)
    yield from map(tuple, np.unique(np.sort(pairs, axis=1), axis=0).tolist())


def _standardised(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(m, T, T, 3) of mean 0 and length 1 each; zeros for a picture of one colour.

    Such a picture correlates with none: of two black frames only equal bytes say that they are one.
    """
    pixels = thumbnails.astype(np.float32)
    pixels -= pixels.mean(axis=(1, 2, 3), keepdims=True)
    length = np.sqrt((pixels**2).sum(axis=(1, 2, 3), keepdims=True))
    return np.where(length > 1e-3, pixels / np.maximum(length, 1e-3), 0)


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
