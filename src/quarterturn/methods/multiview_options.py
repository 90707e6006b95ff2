"""Options of multiview: rotation feature decoupling by views in place of a memory bank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quarterturn.config.bounds import PositiveOrZero
from quarterturn.config.validation import require
from quarterturn.methods.view_options import ViewOptions


@dataclass(frozen=True)
class MultiviewOptions(ViewOptions):
    """Rotation feature decoupling by several turned views of each image, without a memory bank."""

    name: ClassVar[str] = "multiview"
    title: ClassVar[str] = "rotation feature decoupling by views"
    meaning: ClassVar[str] = (
        "one half of each feature learns which way an image is turned, the other half learns to "
        "tell images apart by turned views of each"
    )
    module: ClassVar[str | None] = "quarterturn.methods.multiview"
    has_halves: ClassVar[bool] = True

    rotation_weight: PositiveOrZero = 0.4
    """Weight of the rotation loss in the total."""
    invariance_weight: PositiveOrZero = 0.0
    """Weight of the invariance loss between the small views of an image; needs --same-crop."""

    @property
    def has_rotation_loss(self) -> bool:
        """It predicts the turns."""
        return True

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        super().check()
        require(
            self.same_crop or not self.invariance_weight,
            "invariance_weight",
            self.invariance_weight,
            "0 without --same-crop: different crops need not have the same features",
        )
