"""Which images have an "up": how it is estimated, and what a training makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from quarterturn.config.bounds import Bounds, Count, Positive, PositiveFraction
from quarterturn.config.options import COMMON


@dataclass(frozen=True)
class NoiseAwareConfig:
    """What upright probabilities change in the rotation loss, and where they come from."""

    upright: Annotated[str, COMMON] = "none"
    """Probabilities that images look upright, which weight the rotation loss in the noise-aware
    phase: a file or run that `quarterturn upright` made, auto to make them first, or none."""
    gamma: Positive = 2.0
    """A turned copy weighs 1 - p_upright ** gamma in the noise-aware phase."""
    fold_preset: str | None = None
    """Recipe of the networks that --upright auto trains; by default the run's own, as rotnet, or
    heads on the weights that distill learns from."""
    fold_epochs: Count | None = None
    """Their epochs; by default that recipe's, or the paper's 50/245 of the run's own."""


@dataclass(frozen=True)
class UprightConfig:
    """Cross-fitting of rotation networks, which tells the images that have an "up"."""

    folds: Annotated[int, Bounds(at_least=2, at_most=1_000), COMMON] = 5
    """Networks; each scores the images of its fold, which it has not seen."""
    validation: Annotated[float, Bounds(above=0, at_most=0.5)] = 0.1
    """Share of the other folds' images that stop a network early and scale its temperature, at
    most 5,000 of them."""
    patience: PositiveFraction = 0.25
    """Stop a network when its validation loss has not improved for this fraction of the epochs; 1
    trains to the end. The epoch of the least loss is used either way."""
    view_crops: Literal[1, 5] = 5
    """Views of each image that are averaged: the centre crop, or the corners' too. All are also
    mirrored, where the training mirrors."""
