"""How the networks' logits become probabilities: over which views, and how sure.

Shapes: n images; V views of each; logits (n, V, 4, 4), copy by turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.views import list_views
from quarterturn.orientation.networks import FoldOutcome
from quarterturn.orientation.scores import agnostic_scores
from quarterturn.orientation.temperature import fit_temperature, mean_probabilities, rotation_nll

SCALED = "temperature"
"""Name of the reading of the centre crop."""


@dataclass(frozen=True)
class Calibration:
    """One way to read logits.

    Attributes:
        name: What it is.
        views: Numbers of the views that are averaged.
        temperature: Divides the logits.
        validation_loss: Negative log-likelihood of the turns of all folds' validation images, in
            nats.
    """

    name: str
    views: list[int]
    temperature: float
    validation_loss: float

    def read(self, logits: Tensor) -> tuple[NDArray[np.float32], NDArray[np.floating[Any]]]:
        """(n, V, 4, 4) logits to the views' mean probabilities (n, 4, 4) and agnostic scores (n,).

        The score is the mean of the views' own, not that of their mean: views that are sure of
        different things are no sign of an image without an "up".
        """
        chosen = logits[:, self.views]
        by_view = torch.softmax(chosen / self.temperature, dim=-1).numpy()
        # Rounding may put a mean of probabilities a little above 1.
        probabilities = mean_probabilities(chosen, self.temperature).clamp(0, 1).numpy()
        return probabilities, agnostic_scores(by_view).mean(axis=1)


def list_calibrations(outcomes: Sequence[FoldOutcome], crop: DataConfig) -> list[Calibration]:
    """The centre crop; with its mirror image; and all views; each at its best temperature.

    The temperature is one for all folds, fitted on the validation images of all: those of one fold
    may be a hundred, and a temperature by so few made digits less sure in one fold and three times
    as sure in another, and the probabilities worse than without.

    Args:
        outcomes: What the folds' networks say.
        crop: Crop settings of the training, which tell what the views are.
    """
    num_views = outcomes[0].logits.shape[1]
    views = list_views(crop, num_crops=1 if num_views <= 2 else 5)
    centre = [i for i, view in enumerate(views) if view.place == "centre"]
    ways = {SCALED: [0]}
    if len(centre) > 1:
        ways["mirrored views"] = centre
    if num_views > len(centre):
        ways["five crops"] = list(range(num_views))
    logits = torch.cat([outcome.validation_logits for outcome in outcomes])
    readings = []
    for name, of_way in ways.items():
        temperature = fit_temperature(logits[:, of_way])
        loss = rotation_nll(mean_probabilities(logits[:, of_way], temperature))
        readings.append(Calibration(name, of_way, temperature, loss))
    return readings


def choose_calibration(outcomes: Sequence[FoldOutcome], crop: DataConfig) -> Calibration:
    """The reading that tells the turns of the validation images best."""
    return min(list_calibrations(outcomes, crop), key=lambda reading: reading.validation_loss)
