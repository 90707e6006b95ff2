"""Images that are the same picture: copied, resized, recompressed, turned or mirrored.

Equal bytes decide, or the correlation of the pixels of two small pictures laid on each other, in
the best of eight orientations. Signatures say which pairs are worth a look, and miss
none; see `quarterturn.copies.picture_signatures`.

Shapes: n images; T side of a picture; k pictures that are compared with one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.copies.picture_signatures import oriented, picture_signatures, standardised
from quarterturn.progress import stage

EXACT, NEAR, TURNED, MIRRORED = "exact", "near", "turned", "mirrored"
"""Kinds of copies: the same bytes; upright as the other; in another turn; in the mirror."""
CORRELATION = 0.95
"""Of two pictures' pixels, from which they may be one."""
DETAIL = 0.5
"""Agreement within small squares, on average, from which they are: two planes before a blue sky, or
two films between black bars, correlate as wholes. In CIFAR-10 it tells copies from the others, and
resized and recompressed copies of photos have 0.94 and more; see docs/log.md."""
SQUARE = 4
"""Pixels a side of these squares."""
FAINT = 3.0
"""Standard deviation, in grey levels, of squares that say nothing."""
ROUNDING = 1e-4
"""Of cosines in float32."""
ROWS, COLUMNS = 256, 16_384
"""Signatures whose cosines are computed at a time."""
COMPARED_AT_ONCE = 4096


@dataclass(frozen=True)
class Copy:
    """An image of a group, as it lies to the first of the group.

    Attributes:
        place: Its place among the n.
        kind: `EXACT`, `NEAR`, `TURNED` or `MIRRORED`; empty for the first. `EXACT` is an image with
            the bytes of one that stands before it in the group.
        angle: Degrees, counter-clockwise, by which it is turned; after it is mirrored left to
            right, where it is.
        score: Correlation of the pixels, 1 for equal bytes.
    """

    place: int
    kind: str = ""
    angle: int = 0
    score: float = 1.0


def duplicate_groups(
    pixels: NDArray[np.uint8], keys: Sequence[bytes], order: NDArray[np.int64]
) -> list[list[Copy]]:
    """Groups of images that show the same picture.

    Every image of a group is a copy of the first, by a comparison of the two: of photos of which
    each is like the next, as in a burst, no chain becomes one group. The first is the image that
    is to be kept: images are gone through in ``order``, and each that is in no group yet takes
    those of its copies that are in none. Pictures of one colour are copies by their bytes only.

    Args:
        pixels: (n, T, T, 3) pictures of the whole images.
        keys: (n,) the same for images of the same bytes.
        order: The places of the images, those first that are rather kept.

    Returns:
        Groups of two or more, larger groups first; of equal ones, the surest first.
    """
    equal: dict[bytes, list[int]] = {}
    for place in order.tolist():
        equal.setdefault(keys[place], []).append(place)
    firsts = np.array([places[0] for places in equal.values()], np.int64)
    with stage("duplicates", total=len(firsts)) as bar:
        copies: dict[int, list[Copy]] = {}
        for first, found in _copies_of_firsts(pixels, firsts, bar.advance):
            copies[first] = found
    taken = {copy.place for found in copies.values() for copy in found}
    groups = []
    for place in set(firsts.tolist()) - taken:
        group = [Copy(place)]
        for copy in [group[0], *copies.get(place, [])]:
            group += [copy] * (copy.place != place)
            _, *same = equal[keys[copy.place]]
            group += [replace(copy, place=other, kind=EXACT, score=1.0) for other in same]
        if len(group) > 1:
            groups.append(group)
    return sorted(groups, key=lambda group: (-len(group), -group[1].score, group[0].place))


def _copies_of_firsts(
    pixels: NDArray[np.uint8], places: NDArray[np.int64], advance: Callable[[int], None]
) -> Iterator[tuple[int, list[Copy]]]:
    """Images with their copies among the later ones, each copy once.

    Args:
        pixels: (n, T, T, 3).
        places: Images of different bytes, in the order in which they are gone through.
        advance: Told of how many images are done.
    """
    signatures = torch.from_numpy(picture_signatures(pixels[places]))
    is_free = np.ones(len(places), bool)
    for start in range(0, len(places), ROWS):
        # Where many are copies of one, the first of them has taken all others by now.
        rows = start + np.flatnonzero(is_free[start : start + ROWS])
        is_alike = _alike(signatures, rows, start)
        for row, alike in zip(rows.tolist(), is_alike, strict=True):
            if not is_free[row]:
                continue
            is_free[row] = False
            others = start + np.flatnonzero(alike & is_free[start:])
            if found := list(_copies(pixels, places[row], places[others])):
                is_free[others[[number for number, _ in found]]] = False
                yield int(places[row]), [copy for _, copy in found]
        advance(len(is_free[start : start + ROWS]))


def _alike(signatures: Tensor, rows: NDArray[np.int64], start: int) -> NDArray[np.bool_]:
    """(r, n - start) whether the rows' signatures are near those from ``start`` on."""
    is_alike = np.empty((len(rows), len(signatures) - start), bool)
    some = signatures[torch.from_numpy(rows)]
    for first in range(start, len(signatures) if len(rows) else start, COLUMNS):
        part = slice(first, first + COLUMNS)
        cosines = some @ signatures[part].T
        is_alike[:, first - start : part.stop - start] = (cosines >= CORRELATION - ROUNDING).numpy()
    return is_alike


def _copies(
    pixels: NDArray[np.uint8], first: int, others: NDArray[np.int64]
) -> Iterator[tuple[int, Copy]]:
    """Those of some images that are copies of another, each with its number among them."""
    for start in range(0, len(others), COMPARED_AT_ONCE):
        part = others[start : start + COMPARED_AT_ONCE]
        scores = correlations(pixels[first], pixels[part])
        columns, best = scores.argmax(axis=1), scores.max(axis=1)
        is_copy = best >= CORRELATION
        for column in np.unique(columns[is_copy]).tolist():
            laid, mine = oriented(pixels[first], column), is_copy & (columns == column)
            is_copy[mine] = detail_agreement(laid, pixels[part[mine]]) >= DETAIL
        for number in np.flatnonzero(is_copy).tolist():
            is_mirrored, turns = divmod(int(columns[number]), 4)
            kind = MIRRORED if is_mirrored else TURNED if turns else NEAR
            yield start + number, Copy(int(part[number]), kind, 90 * turns, float(best[number]))


def correlations(first: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(k, 8) correlation of pictures (k, T, T, 3) with another one in eight orientations.

    Column j is for the first as `quarterturn.copies.picture_signatures.oriented` has it.
    """
    [values] = standardised(first[None])
    every = np.stack([oriented(values, column).ravel() for column in range(8)])
    found: NDArray[np.float32] = standardised(others).reshape(len(others), -1) @ every.T
    return found


def detail_agreement(first: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How far pictures (k, T, T, 3) agree with another one within squares.

    Of each square that is not faint in both pictures it is twice the covariance over the sum of the
    variances, as in the structural similarity of Wang et al. (2004); of these the mean is taken.
    The means of a square's rows and columns are removed before: a clear sky and the edges of black
    bars are then faint.

    Returns:
        (k,) at most 1; 0 where all squares are faint.
    """
    one, other = _squares(first[None]), _squares(others)
    variances = [(values**2).mean(axis=2) for values in (one, other)]
    is_seen = np.maximum(*variances) > FAINT**2
    agreement = 2 * (one * other).mean(axis=2) / np.maximum(sum(variances), FAINT**2)
    found: NDArray[np.float32] = (agreement * is_seen).sum(axis=1)
    return found / np.maximum(is_seen.sum(axis=1), 1)


def _squares(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(k, s, d) the squares of pictures (k, T, T, 3), less the means of their rows and columns."""
    count, side = len(pictures), pictures.shape[1] // SQUARE
    squares = pictures[:, : side * SQUARE, : side * SQUARE].astype(np.float32)
    squares = squares.reshape(count, side, SQUARE, side, SQUARE, 3).swapaxes(2, 3)
    squares = squares - squares.mean(axis=3, keepdims=True)
    squares = squares - squares.mean(axis=4, keepdims=True)
    return squares.reshape(count, side**2, -1)
