"""Which views of an image are drawn, and in which turns.

A view is a crop, perhaps mirrored, in colours of its own, and then turned. All of it is drawn as a
pure function of (seed, epoch, image, view).

Shapes: n images; V full views and M small ones of each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from quarterturn.data.colour import ColourLaw
from quarterturn.randomness import hash64, integers, uniforms


@dataclass(frozen=True)
class ViewLaw:
    """Which views of an image are drawn.

    Attributes:
        num_full: V, views of the full size.
        num_small: M, small views; 0 for none.
        small_side: Their side in pixels.
        turned: Whether views are turned: full ones independently, small ones by successive random
            permutations of the four turns.
        same_crop: The small views of an image are one crop in one colouring, in several turns.
        same_turn: Share of the images whose full views all have the same turn.
        colour: How colours are drawn.
    """

    num_full: int = 2
    num_small: int = 0
    small_side: int = 0
    turned: bool = True
    same_crop: bool = False
    same_turn: float = 0.0
    colour: ColourLaw = field(default_factory=ColourLaw)

    @property
    def counts(self) -> list[int]:
        """Views of each size: full ones, and small ones where there are any."""
        return [self.num_full, self.num_small] if self.num_small else [self.num_full]

    def keys(self, draws: Tensor, seed: int) -> Tensor:
        """(n,) numbers of images to (n, V + M) numbers of views, from which a view is drawn."""
        views = torch.arange(self.num_full + self.num_small)
        if self.same_crop:
            views = views.clamp(max=self.num_full)
        return hash64(seed, "view", draws[:, None], views)

    def turns(self, draws: Tensor, seed: int, epoch: int) -> Tensor:
        """Draw the quarter turns of the views.

        Args:
            draws: (n,) int64, the images' numbers in the data set.
            seed: The run's seed.
            epoch: Turns differ between epochs.

        Returns:
            (n, V + M) int64, full views first.
        """
        if not self.turned:
            return torch.zeros(len(draws), self.num_full + self.num_small, dtype=torch.int64)
        full = integers(4, seed, "turn", epoch, draws[:, None], torch.arange(self.num_full))
        same = uniforms(seed, "same-turn", epoch, draws) < self.same_turn
        full = torch.where(same[:, None], full[:, :1], full)
        # Four random numbers, ranked, are a permutation.
        numbers = torch.arange(-(-self.num_small // 4) * 4)
        bits = hash64(seed, "small-turns", epoch, draws[:, None], numbers).unflatten(1, (-1, 4))
        small = bits.argsort(dim=2, stable=True).flatten(1)[:, : self.num_small]
        return torch.cat([full, small], dim=1)
