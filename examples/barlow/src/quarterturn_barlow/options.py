"""Options of Barlow Twins. No torch here: they are loaded for every command's ``--help``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quarterturn.config.bounds import PositiveOrZero, SmallViews, Width
from quarterturn.config.validation import require
from quarterturn.methods.view_options import ViewOptions


@dataclass(frozen=True)
class BarlowOptions(ViewOptions):
    """Barlow Twins (Zbontar, Jing, Misra, LeCun, Deny, ICML 2021): two views, no redundancy."""

    name: ClassVar[str] = "barlow"
    title: ClassVar[str] = "Barlow Twins"
    meaning: ClassVar[str] = "each value of the features learns to say what no other one says"
    module: ClassVar[str | None] = "quarterturn_barlow.method"

    num_small_views: SmallViews = 0
    """Small views of each image; the loss compares two full ones, so there are none."""
    embedding_dim: Width = 256
    """Width of the embedding whose values are made independent."""
    off_diagonal: PositiveOrZero = 0.0051
    """Weight of the correlations between different values, against that of a value with itself."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        super().check()
        require(self.num_views == 2, "num_views", self.num_views, "2 with --method barlow")
        require(self.num_small_views == 0, "num_small_views", self.num_small_views, "0 with barlow")
