"""Imbalance in the rotation loss: between the four turns, and by what has an "up".

Shapes: N images; B in a batch; R = 4 copies of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from quarterturn.methods.class_balance import Balance


def turn_counts(p_upright: Tensor) -> Tensor:
    """(4,) expected images of each turn, where a copy that looks upright counts as upright.

    n_0 = N + sum of p_upright[:, 1:] and n_k = sum of (1 - p_upright[:, k]): our reading of what
    images without an "up" do to the four classes of rotation prediction.

    Args:
        p_upright: (N, 4), probability that copy k of image i looks upright; on the CPU.
    """
    turned = p_upright[:, 1:].double().sum(dim=0)  # (3,)
    num_images = len(p_upright)
    return torch.cat([(num_images + turned.sum())[None], num_images - turned])


def agnostic_groups(agnostic: Tensor, threshold: float) -> Tensor:
    """(N,) int64: 1 for images without an "up", 0 for those with a clear up.

    Args:
        agnostic: (N,) scores.
        threshold: The score from which an image has none.
    """
    return (agnostic >= threshold).long()


@dataclass(frozen=True)
class RotationBalance:
    """Margins and weights of the copies in the rotation loss.

    Where both switches are on, a copy has the larger of its two margins, and the product of its two
    weights.

    Attributes:
        scale: Multiplies the cosines.
        turns: Of the four turns, or None.
        groups: Of rotatable (0) and agnostic images (1), or None.
        group_of: (N,) int64 on the device of the batches, each image's group.
    """

    scale: float
    turns: Balance | None = None
    groups: Balance | None = None
    group_of: Tensor | None = None

    def margins(self, indices: Tensor) -> Tensor:
        """(B, 4) of each image and copy."""
        return torch.stack([of_copy for of_copy, _ in self._parts(indices)]).amax(dim=0)

    def weights(self, indices: Tensor) -> Tensor:
        """(B, 4) of each image and copy."""
        return torch.stack([of_copy for _, of_copy in self._parts(indices)]).prod(dim=0)

    def _parts(self, indices: Tensor) -> list[tuple[Tensor, Tensor]]:
        found = []
        if self.turns is not None:
            both = (self.turns.margins, self.turns.weights)
            found.append((both[0].expand(len(indices), 4), both[1].expand(len(indices), 4)))
        if self.groups is not None and self.group_of is not None:
            group = self.group_of[indices][:, None].expand(-1, 4)
            found.append((self.groups.margins[group], self.groups.weights[group]))
        return found
