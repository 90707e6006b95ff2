"""What stands on a backbone: the split in two halves, the rotation classifier, the embedding.

Heads compute in float32, whatever the backbone runs in.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def split_halves(features: Tensor) -> tuple[Tensor, Tensor]:
    """(..., D) features into the rotation half and the invariant half, (..., D/2) each.

    Raises:
        ValueError: D is odd.
    """
    width = features.shape[-1]
    if width % 2:
        raise ValueError(f"a feature of odd width {width} has no halves")
    return features[..., : width // 2], features[..., width // 2 :]


class LinearHead(nn.Linear):
    """A linear classifier with bias, in float32."""

    def forward(self, features: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features) logits."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())


class EmbeddingHead(LinearHead):
    """A linear map with bias, then length 1: the embedding that the instance loss compares."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_features) to (B, E), each of length 1."""
        return F.normalize(super().forward(features), dim=-1)
