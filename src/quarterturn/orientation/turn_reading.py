"""The one reading of how a collection is stored, for `orient`, `explore` and `upright`.

Shapes: n images, over all splits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from quarterturn.orientation.joint_reading import read_jointly
from quarterturn.orientation.scores import Floats, agnostic_scores
from quarterturn.orientation.temperature import fit_temperature, mean_probabilities
from quarterturn.orientation.turns import IN_SAMPLE, NEW, Turns
from quarterturn.pages.tables import percent

LEAST_ACCURACY = 0.5
"""Rotation accuracy below which networks cannot tell turns: twice that of guessing. Of 200 photos
of houses and 100 textures, those without a clear up were textures in 48 % of the cases at an
accuracy of 46 %, in 60 % at 54 %, in 96 % at 75 % (see ``docs/log.md``)."""
FEWEST_CALIBRATED = 20
"""Images that a temperature is fitted to, at least: 80 copies."""


@dataclass(frozen=True)
class Predictions:
    """What networks say of the four copies of a set of images.

    Attributes:
        probabilities: (n, 4, 4), copy by predicted turn; NaN if an image could not be read.
        agnostic: (n,) agnostic scores; NaN likewise.
        scored: (n,) how each image was scored, one of `quarterturn.orientation.turns.SCORED`.
    """

    probabilities: Floats
    agnostic: Floats
    scored: list[str]


@dataclass(frozen=True)
class TurnReading:
    """How the images of a collection are stored.

    Attributes:
        turns: Split to the turns of its images.
        shares: (4,) estimated shares of images stored turned by 0 to 3 quarter turns.
        exponent: By how much the joint evidence of the copies counts.
        accuracy: Rotation accuracy on images that the networks have not learned from; None without
            images.
        is_out_of_sample: Whether that is so; if not, they have learned from all images, and have
            never been asked about others.
    """

    turns: dict[str, Turns]
    shares: NDArray[np.float64]
    exponent: float
    accuracy: float | None
    is_out_of_sample: bool = True

    @property
    def tells(self) -> bool:
        """Whether the networks can say that an image has no clear up."""
        return can_tell(self.accuracy)

    @property
    def how_learned(self) -> str:
        """``not learned from``, or ``learned from``: the images that the accuracy is about."""
        return "not learned from" if self.is_out_of_sample else "learned from"

    def caveat(self) -> str:
        """Whether the networks have learned from the images, in a sentence."""
        scored = [way for turns in self.turns.values() for way in turns.scored]
        learned = scored.count(IN_SAMPLE)
        if learned == 0:
            return "Each image was scored by networks that have not learned from it."
        return (
            f"The network has learned from {learned:,} of the {len(scored):,} images, and took "
            "them to be upright as they are stored: it may overlook some that are not."
        )

    def doubt(self) -> str:
        """Why the networks cannot tell turns yet; empty where they can."""
        if self.tells or self.accuracy is None:
            return ""
        return (
            "The network cannot tell yet which way is up: of the turns of images that it has "
            f"{self.how_learned} it predicts {percent(self.accuracy)}, where guessing gives 25 % "
            f"and from {percent(LEAST_ACCURACY)} on its answers are worth listing. Either it has "
            "learned too little, and needs more epochs or trained weights (upright --from), or few "
            "of these images have an up."
        )


def can_tell(accuracy: float | None) -> bool:
    """Whether doubt of networks with this rotation accuracy says something about the image."""
    return accuracy is None or accuracy >= LEAST_ACCURACY


def read_turns(
    predictions: Mapping[str, Predictions], known_accuracy: float | None = None
) -> TurnReading:
    """Read how the images of a collection are stored, those of all splits together.

    Args:
        predictions: Split to what networks say of its images.
        known_accuracy: The networks' rotation accuracy on images that they had not seen, which
            counts where they have learned from all of these.
    """
    parts = list(predictions.values())
    joint = read_jointly(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([np.array(part.scored) != IN_SAMPLE for part in parts]),
    )
    has_new = any(set(part.scored) - {IN_SAMPLE} for part in parts)
    accuracy = joint.accuracy if has_new or known_accuracy is None else known_accuracy
    ends = np.cumsum([len(part.scored) for part in parts])[:-1]
    stored, agreed = np.split(joint.stored, ends), np.split(joint.agreed, ends)
    turns = {
        split: Turns(stored[i], agreed[i], part.agnostic, part.scored, can_tell(accuracy))
        for i, (split, part) in enumerate(predictions.items())
    }
    is_out_of_sample = has_new or known_accuracy is not None
    return TurnReading(turns, joint.shares, joint.exponent, accuracy, is_out_of_sample)


def predictions_of_one(logits: Floats, has_learned: NDArray[np.bool_]) -> Predictions:
    """What a single network says, at the temperature of the images that it has not learned from.

    Where these are fewer than `FEWEST_CALIBRATED`, its logits are taken as they are.

    Args:
        logits: (n, 4, 4), copy by predicted turn; NaN of images that could not be read.
        has_learned: (n,) whether it has learned from an image.
    """
    readable = np.isfinite(logits[:, 0, 0])
    views = torch.from_numpy(logits[:, None].astype(np.float32))
    new = views[readable & ~has_learned]
    temperature = fit_temperature(new) if len(new) >= FEWEST_CALIBRATED else 1.0
    probabilities = mean_probabilities(views, temperature).numpy()
    return Predictions(
        probabilities,
        agnostic_scores(probabilities),
        [IN_SAMPLE if each else NEW for each in has_learned.tolist()],
    )
