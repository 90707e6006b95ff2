"""Options of SimCLR, and of both losses on one unsplit feature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quarterturn.config.bounds import PositiveOrZero, SmallViews
from quarterturn.config.validation import require
from quarterturn.methods.view_options import ViewOptions


@dataclass(frozen=True)
class SimCLROptions(ViewOptions):
    """SimCLR (Chen, Kornblith, Norouzi, Hinton, ICML 2020): upright views, the whole feature."""

    name: ClassVar[str] = "simclr"
    title: ClassVar[str] = "SimCLR"
    meaning: ClassVar[str] = "the features learn to tell images apart by several views of each"
    module: ClassVar[str | None] = "quarterturn.methods.simclr"

    num_small_views: SmallViews = 0
    """Small views of each image, beside the full ones; 0 for none."""
    turned_views: bool = False
    """Turn the views by random quarter turns."""
    rotation_weight: PositiveOrZero = 0.0
    """Weight of a rotation loss on the same, whole feature; needs --turned-views. With it this is
    multiview without its split into halves."""

    @property
    def has_rotation_loss(self) -> bool:
        """Where it is given a weight."""
        return self.rotation_weight > 0

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        super().check()
        require(
            self.turned_views or not self.rotation_weight,
            "rotation_weight",
            self.rotation_weight,
            "0 without --turned-views: there are no turns to predict",
        )
        require(
            self.turned_views or not self.same_turn,
            "same_turn",
            self.same_turn,
            "0 without --turned-views",
        )
        require(
            self.turned_views or not self.same_crop,
            "same_crop",
            self.same_crop,
            "false without --turned-views: views of one crop differ only by their turns",
        )
