"""What is learned from labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quarterturn.config.bounds import (
    CountOrZero,
    Fraction,
    FractionBelowOne,
    Positive,
    PositiveOrZero,
)
from quarterturn.config.validation import require

Resampling = Literal["none", "balanced", "effective-number"]


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier of labelled images, and how it treats classes of unequal size."""

    loss: Literal["cross-entropy", "ldam", "focal", "balanced-softmax", "logit-adjusted"] = (
        "cross-entropy"
    )
    """ldam (Cao et al. 2019) takes a cosine head and larger margins for rarer classes; focal (Lin
    et al. 2017); balanced-softmax (Ren et al. 2020); logit-adjusted (Menon et al. 2021)."""
    focal_gamma: PositiveOrZero = 1.0
    """Exponent of the focal loss; 0 is cross-entropy."""
    adjustment: Positive = 1.0
    """Strength of the adjustment by class frequency in logit-adjusted; 1 is balanced-softmax."""
    post_hoc_adjustment: PositiveOrZero = 0.0
    """Take so much of the log class frequencies off the logits after the training, in tests and
    predictions (Menon et al. 2021); 1 for a network trained by cross-entropy, 0 for none."""
    reweight: Literal["none", "always", "drw"] = "none"
    """Weigh classes by effective numbers: never, always, or late (deferred re-weighting)."""
    resample: Resampling = "none"
    """Draw the images of an epoch with replacement: all classes equally often, or by effective
    numbers."""
    trained: str = "whole"
    """What of the backbone is trained: whole, none, or the name of a layer, from which on it is."""
    leave_out_empty: bool = False
    """Go on although a class has no training image: it has no margin and no weight, is never
    predicted, and its test images are left out."""
    many: CountOrZero = 100
    """Classes with more training images than this are counted as many."""
    few: CountOrZero = 20
    """Classes with fewer training images than this are counted as few."""
    protocol: Literal["last-epoch", "paper"] = "last-epoch"
    """paper reports the best of the evaluated epochs as well, as older papers do: it is chosen on
    the test images, so it is too high."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        require(
            self.few <= self.many + 1, "few", self.few, f"0 to one more than --many {self.many}"
        )


@dataclass(frozen=True)
class BalanceConfig:
    """Margins and late weights for classes of unequal size, wherever they are asked for."""

    max_margin: PositiveOrZero = 0.5
    """LDAM's margin of the rarest class, on cosines."""
    scale: Positive = 30.0
    """Multiplies the cosines in LDAM."""
    beta: FractionBelowOne = 0.9999
    """Of effective numbers: 0 weighs all classes alike, near 1 by the inverse of their images."""
    reweight_from: Fraction = 160 / 200
    """Fraction of the epochs at which deferred weights begin."""
    reweight_from_epoch: CountOrZero | None = None
    """That epoch by number, counted from 0, in place of the fraction."""

    def start(self, epochs: int) -> float:
        """Where deferred weights begin in a run of so many epochs, as a fraction of them."""
        if self.reweight_from_epoch is None:
            return self.reweight_from
        return self.reweight_from_epoch / max(1, epochs)
