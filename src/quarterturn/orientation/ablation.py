"""From what the folds' networks say to probabilities of every image, and what each measure adds.

Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.orientation.calibration import Calibration, choose_calibration, list_calibrations
from quarterturn.orientation.networks import FoldOutcome
from quarterturn.orientation.upright_table import NOT_SCORED, UprightTable

STOPPED = "stopped early"
"""Name of the variant before temperature scaling; `SCALED` is the one after it."""


@dataclass(frozen=True)
class Variant:
    """One way of asking the networks.

    Attributes:
        name: What it adds to the one before.
        numbers: (N',) images, of all folds.
        probabilities: (N', 4, 4), mean over the views.
        agnostic: (N',) agnostic scores, mean over the views.
        temperature: Divides the logits.
        in_use: Whether the file of probabilities is of this one.
    """

    name: str
    numbers: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    agnostic: NDArray[np.float32]
    temperature: float
    in_use: bool = False


def gather_table(
    images: ImageSet, outcomes: Sequence[FoldOutcome], crop: DataConfig
) -> UprightTable:
    """The probabilities of every image, by the reading that serves the validation images best.

    Args:
        images: All N images.
        outcomes: What the folds' networks say.
        crop: Crop settings of the training.
    """
    reading = choose_calibration(outcomes, crop)
    probabilities = np.full((len(images), 4, 4), 0.25, dtype=np.float32)
    agnostic = np.ones(len(images), dtype=np.float32)
    fold = np.full(len(images), NOT_SCORED, dtype=np.int64)
    for number, outcome in enumerate(outcomes):
        rows = outcome.numbers
        probabilities[rows], agnostic[rows] = reading.read(outcome.logits)
        fold[rows] = number
    names = list(images.names)
    return UprightTable(names, probabilities, agnostic, fold, images.fingerprint())


def list_variants(outcomes: Sequence[FoldOutcome], crop: DataConfig) -> list[Variant]:
    """The measures against overconfidence, each added to those before it; then what they are for.

    The last two are of the images that the networks were trained on, centre crop, temperature
    scaled: by those networks, and by those that have not seen them.

    Args:
        outcomes: What the folds' networks say.
        crop: Crop settings of the training.
    """
    readings, chosen = list_calibrations(outcomes, crop), choose_calibration(outcomes, crop)
    plain = Calibration("last epoch, centre crop", [0], 1.0, np.nan)
    variants = [
        _variant(outcomes, plain, "last_logits"),
        _variant(outcomes, replace(plain, name=STOPPED), "logits"),
        *(_variant(outcomes, reading, "logits", reading == chosen) for reading in readings),
    ]
    of_seen = replace(readings[0], name="in fold: images seen in training")
    seen = _variant(outcomes, of_seen, "seen_logits")
    return [*variants, seen, _same_images(variants[2], seen.numbers)]


def _variant(
    outcomes: Sequence[FoldOutcome], reading: Calibration, of: str, in_use: bool = False
) -> Variant:
    read = [reading.read(getattr(outcome, of)) for outcome in outcomes]
    numbers = [o.seen_numbers if of == "seen_logits" else o.numbers for o in outcomes]
    return Variant(
        reading.name,
        np.concatenate(numbers),
        np.concatenate([probabilities for probabilities, _ in read]),
        np.concatenate([agnostic for _, agnostic in read]),
        reading.temperature,
        in_use,
    )


def _same_images(variant: Variant, numbers: NDArray[np.int64]) -> Variant:
    """The images that were seen in training, by the networks that have not seen them."""
    place = {number: i for i, number in enumerate(variant.numbers.tolist())}
    rows = [place[number] for number in numbers.tolist() if number in place]
    return Variant(
        "the same images out of fold",
        variant.numbers[rows],
        variant.probabilities[rows],
        variant.agnostic[rows],
        variant.temperature,
    )
