"""How images are stored, read off a network's predictions for all four copies of each.

Copy k of an image that is stored turned by s is turned by k + s in total, so every copy testifies
to s. Four copies of one image are no four witnesses, though: by how much their joint evidence
counts is fitted, together with the share of images that are stored in each turn.

Shapes: n images; predictions (n, 4, 4), copy by predicted turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from quarterturn.orientation.scores import Floats
from quarterturn.orientation.turn_shares import PRIOR_COUNTS, estimate_shares, with_shares
from quarterturn.randomness import permutation

LEAST_PROBABILITY = 1e-6
"""Lower predictions count as this: one copy cannot outvote the three others."""
USUAL_EXPONENT, SPREAD = 0.5, 0.5
"""Median of the exponent before any image is seen, and standard deviation of its logarithm. A
quarter would be four copies that say the same thing, 1 four that know nothing of each other; three
networks on photos of houses had 0.5, 0.6 and 0.95."""
LIMITS = (0.05, 2.0)
"""Range of exponents that are searched."""
MOST_FITTED = 5000
"""Images that the exponent is fitted to, a sample where there are more."""


@dataclass(frozen=True)
class JointReading:
    """How the images of a collection are stored.

    Attributes:
        stored: (n, 4) probability that each image is stored turned by 0 to 3 quarter turns
            counter-clockwise, in a collection with these shares; NaN if it could not be read.
        agreed: (n, 4) the same where all turns are equally likely: what the copies say by
            themselves.
        shares: (4,) estimated shares of the images stored in each turn.
        exponent: Of the copies' joint evidence.
        accuracy: `rotation_accuracy` on images that the network has not learned from, or on all if
            it has learned from all; None without images.
    """

    stored: Floats
    agreed: Floats
    shares: NDArray[np.float64]
    exponent: float
    accuracy: float | None


def read_jointly(predictions: Floats, is_new: NDArray[np.bool_], *, seed: int = 0) -> JointReading:
    """Read how images are stored.

    Args:
        predictions: (n, 4, 4) probabilities; NaN of images that could not be read.
        is_new: (n,) images that the network has not learned from; only these set the exponent.
        seed: Fixes the sample that the exponent is fitted to.
    """
    readable = np.isfinite(predictions[:, 0, 0])
    evidence = copy_evidence(predictions[readable])
    judged = is_new[readable]
    sample = evidence[judged][permutation(int(judged.sum()), seed, "exponent")[:MOST_FITTED]]
    exponent = fit_exponent(sample)
    by_themselves = softmax(exponent * evidence, axis=1)
    shares = estimate_shares(by_themselves)
    agreed, stored = np.full((2, len(predictions), 4), np.nan)
    agreed[readable] = by_themselves
    stored[readable] = with_shares(by_themselves, shares)
    new = readable & is_new
    asked = predictions[new if new.any() else readable]
    accuracy = rotation_accuracy(asked, exponent, shares) if len(asked) else None
    return JointReading(stored, agreed, shares, exponent, accuracy)


def copy_evidence(predictions: Floats) -> NDArray[np.float64]:
    """(n, 4, 4) predictions to (n, 4): what the copies say for each stored turn, in nats."""
    found: NDArray[np.float64] = _by_copy(predictions).sum(axis=1)
    return found


def fit_exponent(evidence: NDArray[np.float64]) -> float:
    """The power of the joint evidence that explains a collection best, with shares fitted to it.

    For every exponent, a mixture over the four turns is a density of images relative to one in
    which the turns are equally likely: turning an image only permutes its evidence, so that the
    mixture's mean there is 1. So the exponent and the shares can be fitted by maximum likelihood to
    images whose turns nobody knows.

    Args:
        evidence: (m, 4), see `copy_evidence`, of images that the network has not learned from.

    Returns:
        The exponent; `USUAL_EXPONENT` without images.
    """
    before = np.array(PRIOR_COUNTS)

    def loss(logarithm: float) -> float:
        predictions = softmax(math.exp(logarithm) * evidence, axis=1)
        shares = estimate_shares(predictions)
        likelihood = float(np.log(4 * (predictions @ shares)).sum())
        likelihood += float((before * np.log(shares)).sum())
        return (logarithm - math.log(USUAL_EXPONENT)) ** 2 / (2 * SPREAD**2) - likelihood

    if len(evidence) == 0:
        return USUAL_EXPONENT
    bounds = tuple(math.log(limit) for limit in LIMITS)
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


def rotation_accuracy(predictions: Floats, exponent: float, shares: NDArray[np.float64]) -> float:
    """Share of the copies whose turn is predicted right, judged by the three other copies of each.

    How an image is stored is not known, and a network that guesses would agree with itself; its
    copies agree with each other in a quarter of the cases.

    Args:
        predictions: (n, 4, 4) probabilities.
        exponent: Of the copies' joint evidence.
        shares: (4,) of the collection.
    """
    by_copy, evidence = _by_copy(predictions), copy_evidence(predictions)
    implied = by_copy == by_copy.max(axis=2, keepdims=True)  # stored turns, by each copy
    implied = implied / implied.sum(axis=2, keepdims=True)  # of a tie all
    right = []
    for k in range(4):
        others = softmax(exponent * (evidence - by_copy[:, k]), axis=1)
        right.append((with_shares(others, shares) * implied[:, k]).sum(axis=1))
    return float(np.mean(right))


def _by_copy(predictions: Floats) -> NDArray[np.float64]:
    """(n, 4, 4): copy by stored turn, what each copy says for it, in nats."""
    logs = np.log(np.maximum(predictions, LEAST_PROBABILITY).astype(np.float64))
    copies = np.arange(4)
    return np.stack([logs[:, copies, (copies + s) % 4] for s in range(4)], axis=2)
