"""Options of RotNet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quarterturn.config.bounds import PositiveOrZero
from quarterturn.config.method import MethodOptions


@dataclass(frozen=True)
class RotNetOptions(MethodOptions):
    """RotNet (Gidaris, Singh, Komodakis, ICLR 2018): only the rotation loss."""

    name: ClassVar[str] = "rotnet"
    title: ClassVar[str] = "rotation prediction (RotNet)"
    meaning: ClassVar[str] = "the features learn which way an image is turned"
    module: ClassVar[str | None] = "quarterturn.methods.rotnet"

    rotation_weight: PositiveOrZero = 1.0
    """Weight of the rotation loss in the total."""

    @property
    def has_rotation_loss(self) -> bool:
        """It predicts the turns."""
        return True

    @property
    def views_in_words(self) -> str:
        """Four copies."""
        return "each in four turns"
