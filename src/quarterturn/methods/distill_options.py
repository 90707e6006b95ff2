"""Options of learning from a network that somebody has trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quarterturn.config.bounds import PositiveOrZero
from quarterturn.config.method import MethodOptions


@dataclass(frozen=True)
class DistillOptions(MethodOptions):
    """A trained network teaches the invariant half to say of any turn what it says upright."""

    name: ClassVar[str] = "distill"
    title: ClassVar[str] = "decoupling by a trained teacher"
    meaning: ClassVar[str] = (
        "one half of each feature learns which way an image is turned, the other half learns to "
        "say of a turned image what the network it began with says of the upright one"
    )
    module: ClassVar[str | None] = "quarterturn.methods.distill"
    has_halves: ClassVar[bool] = True
    needs_start: ClassVar[bool] = True

    teacher_weight: PositiveOrZero = 5.0
    """Weight of the distance from the teacher, 1 less the cosine, in the total."""
    rotation_weight: PositiveOrZero = 0.4
    """Weight of the rotation loss in the total."""

    @property
    def has_rotation_loss(self) -> bool:
        """It predicts the turns."""
        return True

    @property
    def views_in_words(self) -> str:
        """One turned view, and the teacher's."""
        return "each in one turn of four, and upright for the teacher"
