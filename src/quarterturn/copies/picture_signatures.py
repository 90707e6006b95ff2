"""Signatures of pictures, the same for a picture however it is turned or mirrored.

The eight orientations of a square form the group D4. They permute the pixels within orbits of
eight, or of four on the diagonals. The values of an orbit divide into coordinates that every
orientation keeps, coordinates that it may only negate (of three kinds), and a rest that it rotates.
A signature holds the first, the absolute values of the second, and the length of the third. None of
these steps moves two pictures apart, so

    cosine of the signatures  >=  correlation of the pixels, in the best of the eight orientations.

Pairs whose signatures have a cosine below a limit need no look at their pixels, and none that
reaches the limit is missed.

Shapes: n pictures; T their side; S side to which they are reduced, which divides T; o orbits of
S x S pixels.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.uint8, np.int64, np.float32)

SIDE = 8
"""S, in pixels. In 60,000 photos of CIFAR-10, 106,600 pairs of 1.8 billion remain to be looked at,
and 8,600 with 16 px, whose signatures are four times as long."""
BLOCK = 4096
"""Pictures that are computed at a time."""
FLAT = 1e-3
"""Length, in grey levels, below which a picture is of one colour."""

_EVEN, _ODD = [1, 1, 1, 1], [1, -1, 1, -1]
CHARACTERS = np.array(
    [
        [*turns, *(sign * each for each in turns)]
        for turns, sign in ((_EVEN, 1), (_EVEN, -1), (_ODD, 1), (_ODD, -1))
    ],
    np.float32,
) / np.float32(np.sqrt(8))
"""(4, 8) one-dimensional representations of D4: of the four turns, then of the mirrored turns."""


def picture_signatures(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Signatures of length 1; zeros for a picture of one colour, which is like no other.

    Args:
        pixels: (n, T, T, 3).

    Returns:
        (n, d) float32.
    """
    blocks = [_signatures(pixels[start : start + BLOCK]) for start in range(0, len(pixels), BLOCK)]
    return np.concatenate(blocks) if blocks else np.empty((0, 1), np.float32)


def standardised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, T, T, 3) of mean 0 and length 1 each; zeros for a picture of one colour."""
    values = pixels.astype(np.float32)
    values -= values.mean(axis=(1, 2, 3), keepdims=True)
    length = np.sqrt(np.einsum("nijc,nijc->n", values, values))[:, None, None, None]
    values /= np.maximum(length, FLAT)
    return values * (length > FLAT)


def oriented(picture: NDArray[Number], column: int) -> NDArray[Number]:
    """A picture (T, T, 3) turned by ``column % 4`` quarter turns, counter-clockwise.

    From column 4 on it is mirrored left to right before.
    """
    return np.rot90(picture[:, ::-1] if column >= 4 else picture, column % 4)


def _signatures(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = standardised(pixels)
    count, side = values.shape[:2]
    step = side // SIDE
    squares = values.reshape(count, SIDE, step, SIDE, step, 3)
    # Sums over the root of the number of pixels: a projection, which makes no distance larger.
    small = squares.sum(axis=(2, 4), dtype=np.float32).reshape(count, -1, 3) / np.float32(step)
    orbits, weights = _orbits()
    of_orbit = (small[:, orbits] * weights[:, None]).reshape(count, 8, -1)  # (n, 8, 3 * o)
    kept = CHARACTERS @ of_orbit  # (n, 4, 3 * o)
    rest = (of_orbit**2).sum(axis=1) - (kept**2).sum(axis=1)
    kept[:, 1:] = np.abs(kept[:, 1:])
    found = np.concatenate([kept.reshape(count, -1), np.sqrt(np.maximum(rest, 0))], axis=1)
    # What the reduction has left out is as long in every orientation.
    left_out = 1 - (found**2).sum(axis=1, keepdims=True)
    found = np.concatenate([found, np.sqrt(np.maximum(left_out, 0))], axis=1)
    is_flat: NDArray[np.bool_] = (values == 0).all(axis=(1, 2, 3))
    return np.where(is_flat[:, None], np.float32(0), found)


def _orbits() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(8, o) pixels of each orbit by orientation, and (o,) weights.

    An orbit on the diagonals has four pixels, each of which stands twice.
    """
    places = np.arange(SIDE**2).reshape(SIDE, SIDE)
    down, right = np.triu_indices(SIDE // 2)
    orbits = np.stack([oriented(places, column)[down, right] for column in range(8)])
    return orbits, np.where(down == right, np.sqrt(0.5), 1).astype(np.float32)
