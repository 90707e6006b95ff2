"""Options of a rotation head on features that stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quarterturn.config.bounds import Count
from quarterturn.config.method import MethodOptions


@dataclass(frozen=True)
class RotationHeadOptions(MethodOptions):
    """A linear rotation head on maps of a trained backbone, of which nothing changes."""

    name: ClassVar[str] = "rotation-head"
    title: ClassVar[str] = "a rotation head on trained features"
    meaning: ClassVar[str] = "a linear head learns the turns from features that stay as they are"
    module: ClassVar[str | None] = "quarterturn.methods.rotation_head"
    command: ClassVar[str | None] = "upright"
    needs_start: ClassVar[bool] = True

    layers: tuple[str, ...] = ()
    """Layers that the head reads; by default the last two that are maps and no pools. Where in the
    image something is says which way is up, and a feature pooled over the area has lost it."""
    grid: Count = 2
    """Maps are average-pooled to an N x N grid."""

    @property
    def has_rotation_loss(self) -> bool:
        """It predicts the turns."""
        return True
