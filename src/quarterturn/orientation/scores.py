"""Scores of an image from the predictions on its four copies.

Shapes: (..., 4, 4) probabilities, copy by turn: ``[k, t]`` is that of copy k, which is turned by k
quarter turns counter-clockwise, being predicted to be turned by t.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.orientation.options import OrientOptions

Floats = NDArray[np.floating[Any]]

AGNOSTIC = OrientOptions.agnostic
"""Agnostic score from which an image has no "up", unless the user sets another."""
CHANCE = 0.25
"""Probability of guessing among four turns."""


def agnostic_scores(probabilities: Floats) -> Floats:
    """Agnostic scores, from 0 (the turn of each copy is certain) to 1 (any turn is as likely).

    The entropy of the predictions, averaged over the copies, over log 4: (..., 4, 4) to (...). A
    measure of this project; in a prototype it separated textures from houses better than the mean
    of p_upright over the turned copies.
    """
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    entropies = (probabilities * -logs).sum(axis=-1).mean(axis=-1)
    return np.clip(entropies / math.log(4), 0, 1)  # against rounding


def half_turn_scores(p_upright: Floats) -> Floats:
    """p_upright after a half turn minus its mean over the quarter turns: (..., 4) to (...).

    High for images that look the same upside down: chequers, stripes, an 8.
    """
    return p_upright[..., 2] - (p_upright[..., 1] + p_upright[..., 3]) / 2


def probably_turned(p_upright: Floats) -> NDArray[np.int64]:
    """Quarter turns, counter-clockwise, that would bring an image upright: (..., 4) to (...).

    0 unless the image is probably stored turned: p_upright of some turned copy is above one half,
    and that of the stored image is below chance.
    """
    turned = p_upright[..., 1:]
    is_turned = (turned.max(axis=-1) > 0.5) & (p_upright[..., 0] < CHANCE)
    return np.where(is_turned, 1 + turned.argmax(axis=-1), 0)


def agnostic_warning(agnostic: Floats) -> str | None:
    """A warning for the user if most images have no "up", else None.

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
