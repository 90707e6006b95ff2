"""What share of a collection is stored in each of the four turns, estimated from predictions.

Shapes: n images; columns are the quarter turns, counter-clockwise, that an image is stored by.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from quarterturn.orientation.scores import Floats

PRIOR_COUNTS = (9.0, 1 / 3, 1 / 3, 1 / 3)
"""Images that are counted before any is seen: ten, nine of them upright. They keep the shares of a
handful of images away from 0 and 1, and decide where the network knows nothing."""
MOST_STEPS = 500
PRECISION = 1e-6
"""Change of a share at which the estimate has settled."""


def estimate_shares(
    predictions: Floats, prior_counts: tuple[float, ...] = PRIOR_COUNTS
) -> NDArray[np.float64]:
    """The share of images stored in each turn: expectation maximisation of Saerens et al.

    A network that is trained on all turns equally often takes them to be equally likely. Where
    nine photos in ten are upright, that lists upright ones as turned. The estimate asks what shares
    explain the predictions best (Saerens, Latinne, Decaestecker, Neural Computation 14, 2002), with
    a Dirichlet prior: its mode, of ``prior_counts`` images seen before.

    Args:
        predictions: (n, 4) probabilities of each turn where all four are equally likely.
        prior_counts: Images of each turn that are counted before these.

    Returns:
        (4,) shares, which sum to 1.
    """
    before = np.array(prior_counts, np.float64)
    shares = before / before.sum()
    for _ in range(MOST_STEPS):
        counts = before + with_shares(predictions, shares).sum(axis=0)
        new = counts / counts.sum()
        settled = np.abs(new - shares).max() < PRECISION
        shares = new
        if settled:
            break
    return shares


def with_shares(predictions: Floats, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predictions for a collection in which the turns have other shares: (n, 4) to (n, 4).

    Args:
        predictions: (n, 4) probabilities where all turns are equally likely.
        shares: (4,) of the collection.
    """
    weighted = predictions * shares
    return weighted / weighted.sum(axis=1, keepdims=True)
