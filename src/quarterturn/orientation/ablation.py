"""The probabilities of all images from the fold networks, and what each step towards them adds.

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

STOPPED, FITTED = "stopped early", "centre crop"
"""Names of the variant before temperature scaling, of networks and of heads that were fitted at
once; `SCALED` is the one after it."""


@dataclass(frozen=True)
class Variant:
    """The probabilities after one more step.

    Attributes:
        name: The step that it adds to the previous variant.
        numbers: (N',) images, of all folds.
        probabilities: (N', 4, 4), mean over the views.
        agnostic: (N',) agnostic scores, mean over the views.
        temperature: Divides the logits.
        in_use: Whether the written probabilities are those of this variant.
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
    """The probabilities of all images, by the calibration that is best on the validation images.

    Args:
        images: All N images.
        outcomes: Outcomes of the folds' networks.
        crop: Crop settings of the training.
    """
    calibration = choose_calibration(outcomes, crop)
    probabilities = np.full((len(images), 4, 4), 0.25, dtype=np.float32)
    agnostic = np.ones(len(images), dtype=np.float32)
    fold = np.full(len(images), NOT_SCORED, dtype=np.int64)
    for number, outcome in enumerate(outcomes):
        rows = outcome.numbers
        probabilities[rows], agnostic[rows] = calibration.apply(outcome.logits)
        fold[rows] = number
    names = list(images.names)
    return UprightTable(names, probabilities, agnostic, fold, images.fingerprint())


def list_variants(outcomes: Sequence[FoldOutcome], crop: DataConfig) -> list[Variant]:
    """The steps against overconfidence, each added to the previous ones, and why they matter.

    The last two variants are of training images, with the centre crop and temperature scaling:
    by the networks that were trained on them, and by those that were not.

    Args:
        outcomes: Outcomes of the folds' networks.
        crop: Crop settings of the training.
    """
    calibrations, chosen = list_calibrations(outcomes, crop), choose_calibration(outcomes, crop)
    plain = Calibration("last epoch, centre crop", [0], 1.0, np.nan)
    if outcomes[0].epoch:
        before = [
            _variant(outcomes, plain, "last_logits"),
            _variant(outcomes, replace(plain, name=STOPPED), "logits"),
        ]
    else:
        before = [_variant(outcomes, replace(plain, name=FITTED), "logits")]
    after = [_variant(outcomes, one, "logits", one == chosen) for one in calibrations]
    in_fold = replace(calibrations[0], name="in fold: images seen in training")
    seen = _variant(outcomes, in_fold, "seen_logits")
    return [*before, *after, seen, _same_images(after[0], seen.numbers)]


def _variant(
    outcomes: Sequence[FoldOutcome], calibration: Calibration, logits: str, in_use: bool = False
) -> Variant:
    scores = [calibration.apply(getattr(outcome, logits)) for outcome in outcomes]
    numbers = [o.seen_numbers if logits == "seen_logits" else o.numbers for o in outcomes]
    return Variant(
        calibration.name,
        np.concatenate(numbers),
        np.concatenate([probabilities for probabilities, _ in scores]),
        np.concatenate([agnostic for _, agnostic in scores]),
        calibration.temperature,
        in_use,
    )


def _same_images(variant: Variant, numbers: NDArray[np.int64]) -> Variant:
    """The images ``numbers``, by the networks that were not trained on them."""
    place = {number: i for i, number in enumerate(variant.numbers.tolist())}
    rows = [place[number] for number in numbers.tolist() if number in place]
    return Variant(
        "the same images out of fold",
        variant.numbers[rows],
        variant.probabilities[rows],
        variant.agnostic[rows],
        variant.temperature,
    )
