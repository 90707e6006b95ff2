"""What the predictions on an image's four copies say of the image.

Shapes: (..., 4, 4) probabilities, copy by turn: ``[k, t]`` is that of copy k, which is turned by k
quarter turns counter-clockwise, being predicted to be turned by t.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

AGNOSTIC = 0.5
"""An image with this agnostic score or more has no "up", unless the user sets another."""
LITTLE = 0.25
"""A probability no better than guessing among four turns."""


def agnostic_scores(probabilities: Floats) -> Floats:
    """From 0, the turn of each copy is sure, to 1, every copy may be turned in any way.

    The entropy of the predictions, averaged over the copies, over log 4: (..., 4, 4) to (...). A
    measure of this project. In a prototype it parted textures from houses better than the mean of
    p_upright over the turned copies.
    """
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    entropies = (probabilities * -logs).sum(axis=-1).mean(axis=-1)
    return np.clip(entropies / math.log(4), 0, 1)  # rounding may lead beyond


def half_turn_scores(p_upright: Floats) -> Floats:
    """How much more upright an image looks turned by a half than by a quarter: (..., 4) to (...).

    High for what is the same upside down: chequers, stripes, an 8.
    """
    return p_upright[..., 2] - (p_upright[..., 1] + p_upright[..., 3]) / 2


def stored_turns(probabilities: Floats) -> Floats:
    """(..., 4) probabilities that an image, as it is stored, is turned by so many quarter turns.

    Copy k of an image stored turned by s is turned by k + s in all: each of the four copies has a
    say on s, and their mean is taken. Each row sums to 1.
    """
    copies = np.arange(4)
    return np.stack(
        [probabilities[..., copies, (copies + s) % 4].mean(axis=-1) for s in range(4)], axis=-1
    )


def probably_turned(p_upright: Floats) -> NDArray[np.int64]:
    """Quarter turns, counter-clockwise, that would bring an image upright: (..., 4) to (...).

    0 unless the image is probably stored turned: some turned copy has a p_upright above one half,
    and the image as it is stored one no better than guessing.
    """
    turned = p_upright[..., 1:]
    found = (turned.max(axis=-1) > 0.5) & (p_upright[..., 0] < LITTLE)
    return np.where(found, 1 + turned.argmax(axis=-1), 0)


def agnostic_warning(agnostic: Floats) -> str | None:
    """A sentence for the user when most images have no "up", else None.

    Args:
        agnostic: (n,) scores of the images that could be read.
    """
    share = float((agnostic >= AGNOSTIC).mean())
    if share <= 0.5:
        return None
    return (
        f'{share:.0%} of the images have no "up" (agnostic score {AGNOSTIC} or more): the '
        "turn of such images is noise to the rotation loss. pretrain --upright discounts it image "
        "by image, --rotation-weight 0 leaves it out, and the invariant half is still learned; or "
        "--method instance, which turns nothing. If people can tell which way up these images are, "
        "the networks have learned too little: give more --epochs"
    )
