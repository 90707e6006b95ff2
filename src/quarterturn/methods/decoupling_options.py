"""Options of Rotation Feature Decoupling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quarterturn.config.bounds import PositiveOrZero
from quarterturn.methods.discrimination_options import DiscriminationOptions


@dataclass(frozen=True)
class DecouplingOptions(DiscriminationOptions):
    """Rotation Feature Decoupling (Feng, Xu, Tao, CVPR 2019): its three losses."""

    name: ClassVar[str] = "decoupling"
    title: ClassVar[str] = "rotation feature decoupling"
    meaning: ClassVar[str] = (
        "one half of each feature learns which way an image is turned, the other half learns to "
        "ignore the turn and to tell images apart"
    )
    module: ClassVar[str | None] = "quarterturn.methods.decoupling"
    has_halves: ClassVar[bool] = True

    rotation_weight: PositiveOrZero = 1.0
    """Weight of the rotation loss in the total."""
    invariance_weight: PositiveOrZero = 1.0
    """Weight of the invariance loss in the total."""

    @property
    def has_rotation_loss(self) -> bool:
        """It predicts the turns."""
        return True

    @property
    def views_in_words(self) -> str:
        """Four copies."""
        return "each in four turns"
