"""What each figure and each word of an upright run's page means."""

from __future__ import annotations

from typing import Any

from quarterturn.orientation.scores import AGNOSTIC
from quarterturn.pages.tables import number, percent
from quarterturn.pages.words import Measure


def upright_measures(scores: dict[str, Any], told: dict[str, float]) -> list[Measure]:
    """The figures of a collection, each with its meaning.

    Args:
        scores: Of `quarterturn.orientation.upright_tables.collection_scores`.
        told: Of `quarterturn.orientation.upright_tables.measure_variant`, out of fold.
    """
    turned = scores["turn_to_upright"]
    by_turn = ", ".join(f"{count:,} after {degrees}°" for degrees, count in turned.items())
    return [
        Measure(
            "Images without an “up”",
            percent(scores["agnostic_share"]),
            f"Their agnostic score is {AGNOSTIC} or more: turned copies look no less upright.",
        ),
        Measure(
            "Mean agnostic score",
            number(scores["agnostic"]),
            "From 0, the turn of every copy is sure, to 1, each copy may be turned in any way.",
        ),
        Measure(
            "Mean half-turn score",
            number(scores["half_turn"]),
            "Above 0 where images look more upright when turned by a half than by a quarter.",
        ),
        Measure(
            "Probably stored turned",
            f"{sum(turned.values()):,}",
            f"Images that would be upright after a turn, counter-clockwise: {by_turn}.",
        ),
        Measure(
            "Rotation accuracy",
            percent(told["rotation_accuracy"]),
            "How often the quarter turn of a copy is told, out of fold; guessing gives 25\u00a0%.",
        ),
        Measure(
            "Calibration error",
            percent(told["calibration_error"]),
            "How far the networks' confidence lies from how often they are right, on average.",
        ),
    ]


UPRIGHT_WORDS = [
    (
        "out of fold",
        "The images are parted in folds, exact copies together. Each fold is scored by a network "
        "that has learned from the others, so that nothing is known by heart.",
    ),
    (
        "in fold",
        "Scored by a network that has learned from the very image: surer and more often right than "
        "it would be on a new one.",
    ),
    (
        "p_upright",
        "Four probabilities for each image: that it looks upright as it is stored, and after a "
        "turn by 90°, 180° and 270°, counter-clockwise. They need not sum to 1.",
    ),
    (
        "agnostic",
        "Without an “up”: its turned copies look upright too, as those of a texture, a satellite "
        "picture or a ball. The agnostic score is the entropy of what is predicted for the four "
        "copies, as a share of the greatest one possible.",
    ),
    (
        "rotatable",
        "The opposite: which way is up can be told for sure, and the image has something to teach "
        "to a network that learns by rotation.",
    ),
    (
        "half-turn score",
        "High for what is nearly the same upside down: stripes, chequers, an 8.",
    ),
    (
        "probably stored turned",
        "A turned copy has a p_upright above one half, and the image as it is stored has less than "
        "guessing would give. It is a guess, too: look before you turn.",
    ),
    (
        "stopped early",
        "The network is taken from the epoch at which it told the turns of validation images best, "
        "not from the last one.",
    ),
    (
        "temperature",
        "A number that the networks' outputs are divided by, so that they are as sure as they are "
        "right on validation images: above 1 it makes them less sure, below 1 surer.",
    ),
    (
        "calibration error",
        "Predictions are sorted into 15 bins by their confidence; the error is the gap between the "
        "confidence and the share that is right, averaged over the predictions.",
    ),
    (
        "nll",
        "Negative log-likelihood: the mean of minus the logarithm of the true turn's probability. "
        "It punishes mistakes that are made with confidence; less is better.",
    ),
]
"""The words that a reader of the page will meet, each with its meaning."""
