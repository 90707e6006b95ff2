"""From what the folds' networks say to probabilities of every image, and what each measure adds.

Shapes: N images; n of one fold; V views of each.
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
from quarterturn.crossfit.calibration import fit_temperature, mean_probabilities
from quarterturn.crossfit.networks import FoldOutcome
from quarterturn.crossfit.scores import agnostic_scores
from quarterturn.crossfit.table import NOT_SCORED, UprightTable
from quarterturn.crossfit.views import list_views
from quarterturn.data.imageset import ImageSet

STOPPED, SCALED = "stopped early", "temperature"
"""Names of the variants before and after temperature scaling; both see the centre crop."""


@dataclass(frozen=True)
class Variant:
    """One way of asking the networks.

    Attributes:
        name: What it adds to the one before.
        numbers: (N',) images, of all folds.
        probabilities: (N', 4, 4), mean over the views.
        agnostic: (N',) agnostic scores, mean over the views.
        temperatures: One for each fold.
    """

    name: str
    numbers: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    agnostic: NDArray[np.float32]
    temperatures: list[float]


def gather_table(images: ImageSet, outcomes: Sequence[FoldOutcome]) -> UprightTable:
    """The probabilities of every image: all views, each fold's network at its own temperature."""
    probabilities = np.full((len(images), 4, 4), 0.25, dtype=np.float32)
    agnostic = np.ones(len(images), dtype=np.float32)
    fold = np.full(len(images), NOT_SCORED, dtype=np.int64)
    for number, outcome in enumerate(outcomes):
        temperature = fit_temperature(outcome.validation_logits)
        of_fold, scores = _read(outcome.logits, temperature)
        probabilities[outcome.numbers], agnostic[outcome.numbers] = of_fold, scores
        fold[outcome.numbers] = number
    names = list(images.names)
    return UprightTable(names, probabilities, agnostic, fold, images.fingerprint())


def list_variants(outcomes: Sequence[FoldOutcome], crop: DataConfig) -> list[Variant]:
    """The measures against overconfidence, each added to those before it, and the images seen.

    Args:
        outcomes: What the folds' networks say.
        crop: Crop settings of the training, which tell what the views are.
    """
    num_views = outcomes[0].logits.shape[1]
    views = list_views(crop, num_crops=1 if num_views <= 2 else 5)
    centre = [i for i, view in enumerate(views) if view.place == "centre"]
    ways: list[tuple[str, str, list[int], bool]] = [
        ("last epoch, centre crop", "last_logits", [0], False),
        (STOPPED, "logits", [0], False),
        (SCALED, "logits", [0], True),
    ]
    if len(centre) > 1:
        ways.append(("mirrored views", "logits", centre, True))
    if num_views > len(centre):
        ways.append(("five crops", "logits", list(range(num_views)), True))
    variants = [_variant(outcomes, *way) for way in ways]
    return [*variants, _variant(outcomes, "in fold: images seen in training", "seen_logits", [0])]


def _variant(
    outcomes: Sequence[FoldOutcome], name: str, of: str, views: list[int], scaled: bool = True
) -> Variant:
    temperatures = [
        fit_temperature(o.validation_logits[:, views]) if scaled else 1.0 for o in outcomes
    ]
    read = [
        _read(getattr(o, of)[:, views], temperature)
        for o, temperature in zip(outcomes, temperatures, strict=True)
    ]
    numbers = [o.seen_numbers if of == "seen_logits" else o.numbers for o in outcomes]
    return Variant(
        name, np.concatenate(numbers),
        np.concatenate([probabilities for probabilities, _ in read]),
        np.concatenate([agnostic for _, agnostic in read]), temperatures,
    )  # fmt: skip


def _read(
    logits: Tensor, temperature: float
) -> tuple[NDArray[np.float32], NDArray[np.floating[Any]]]:
    """(n, V, 4, 4) logits to the views' mean probabilities (n, 4, 4) and agnostic scores (n,)."""
    by_view = torch.softmax(logits / temperature, dim=-1).numpy()
    # Rounding may put a mean of probabilities a little above 1.
    probabilities = mean_probabilities(logits, temperature).clamp(0, 1).numpy()
    return probabilities, agnostic_scores(by_view).mean(axis=1)
