"""From the fold networks' logits to probabilities: which views to average, at which temperature.

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
"""Name of the calibration with only the centre crop."""


@dataclass(frozen=True)
class Calibration:
    """One way to turn logits into probabilities.

    Attributes:
        name: Name for tables.
        views: Numbers of the views to average.
        temperature: Divides the logits.
        validation_loss: Negative log-likelihood of the turns of all folds' validation images, in
            nats.
    """

    name: str
    views: list[int]
    temperature: float
    validation_loss: float

    def apply(self, logits: Tensor) -> tuple[NDArray[np.float32], NDArray[np.floating[Any]]]:
        """(n, V, 4, 4) logits to mean probabilities (n, 4, 4) and mean agnostic scores (n,).

        The agnostic scores of the views are averaged, not computed from the mean probabilities:
        views that are certain of different turns do not show that an image has no "up".
        """
        chosen = logits[:, self.views]
        by_view = torch.softmax(chosen / self.temperature, dim=-1).numpy()
        # Rounding may put a mean of probabilities a little above 1.
        probabilities = mean_probabilities(chosen, self.temperature).clamp(0, 1).numpy()
        return probabilities, agnostic_scores(by_view).mean(axis=1)


def list_calibrations(outcomes: Sequence[FoldOutcome], crop: DataConfig) -> list[Calibration]:
    """The centre crop, that with its mirror image, and all views, each at its best temperature.

    All folds share one temperature, fitted on the validation images of all folds. One fold may have
    only a hundred of them: on digits, separate temperatures made the probabilities worse than none.

    Args:
        outcomes: Outcomes of the folds' networks.
        crop: Crop settings of the training, which determine the views.
    """
    num_views = outcomes[0].logits.shape[1]
    views = list_views(crop, num_crops=1 if num_views <= 2 else 5)
    centre = [i for i, view in enumerate(views) if view.place == "centre"]
    averaged = {SCALED: [0]}
    if len(centre) > 1:
        averaged["mirrored views"] = centre
    if num_views > len(centre):
        averaged["five crops"] = list(range(num_views))
    logits = torch.cat([outcome.validation_logits for outcome in outcomes])
    calibrations = []
    for name, numbers in averaged.items():
        temperature = fit_temperature(logits[:, numbers])
        loss = rotation_nll(mean_probabilities(logits[:, numbers], temperature))
        calibrations.append(Calibration(name, numbers, temperature, loss))
    return calibrations


def choose_calibration(outcomes: Sequence[FoldOutcome], crop: DataConfig) -> Calibration:
    """The calibration with the lowest loss on the validation images."""
    return min(list_calibrations(outcomes, crop), key=lambda one: one.validation_loss)
