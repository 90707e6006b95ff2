"""What is learned from labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quarterturn.config.require import require

Resampling = Literal["none", "balanced", "effective-number"]


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier of labelled images, and how it treats classes of unequal size."""

    loss: Literal["cross-entropy", "ldam", "focal", "balanced-softmax", "logit-adjusted"] = (
        "cross-entropy"
    )
    """ldam (Cao et al. 2019) takes a cosine head and larger margins for rarer classes; focal (Lin
    et al. 2017); balanced-softmax (Ren et al. 2020); logit-adjusted (Menon et al. 2021)."""
    focal_gamma: float = 1.0
    """Exponent of the focal loss; 0 is cross-entropy."""
    adjustment: float = 1.0
    """Strength of the adjustment by class frequency in logit-adjusted; 1 is balanced-softmax."""
    post_hoc_adjustment: float = 0.0
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
    many: int = 100
    """Classes with more training images than this are counted as many."""
    few: int = 20
    """Classes with fewer training images than this are counted as few."""
    protocol: Literal["last-epoch", "paper"] = "last-epoch"
    """paper reports the best of the evaluated epochs as well, as older papers do: it is chosen on
    the test images, so it is too high."""

    def check(self) -> None:
        """Refuse values that cannot work; see `Config.check`."""
        require(self.focal_gamma >= 0, "focal-gamma", self.focal_gamma, "0 or more")
        require(self.adjustment > 0, "adjustment", self.adjustment, "a positive number")
        require(
            self.post_hoc_adjustment >= 0,
            "post-hoc-adjustment",
            self.post_hoc_adjustment,
            "0 or more",
        )
        require(
            0 <= self.few <= self.many + 1,
            "few",
            self.few,
            f"0 to one more than --many {self.many}",
        )


@dataclass(frozen=True)
class BalanceConfig:
    """Margins and late weights for classes of unequal size, wherever they are asked for."""

    max_margin: float = 0.5
    """LDAM's margin of the rarest class, on cosines."""
    scale: float = 30.0
    """Multiplies the cosines in LDAM."""
    beta: float = 0.9999
    """Of effective numbers: 0 weighs all classes alike, near 1 by the inverse of their images."""
    reweight_from: float = 160 / 200
    """Fraction of the epochs at which deferred weights begin."""
    reweight_from_epoch: int | None = None
    """That epoch by number, counted from 0, in place of the fraction."""

    def start(self, epochs: int) -> float:
        """Where deferred weights begin in a run of so many epochs, as a fraction of them."""
        if self.reweight_from_epoch is None:
            return self.reweight_from
        return self.reweight_from_epoch / max(1, epochs)

    def check(self) -> None:
        """Refuse values that cannot work; see `Config.check`."""
        require(self.max_margin >= 0, "max-margin", self.max_margin, "0 or more")
        require(self.scale > 0, "scale", self.scale, "a positive number")
        require(0 <= self.beta < 1, "beta", self.beta, "0 or more, below 1")
        require(
            0 <= self.reweight_from <= 1,
            "reweight-from",
            self.reweight_from,
            "a fraction from 0 to 1",
        )
