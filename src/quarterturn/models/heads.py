"""Heads on a backbone: the split into halves, classifiers, the embedding.

Heads compute in float32, whatever the precision of the backbone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def split_halves(features: Tensor) -> tuple[Tensor, Tensor]:
    """Split (..., D) features into the rotation half and the invariant half, (..., D/2) each.

    Raises:
        ValueError: D is odd.
    """
    width = features.shape[-1]
    if width % 2:
        raise ValueError(f"features of odd width {width} have no halves")
    return features[..., : width // 2], features[..., width // 2 :]


class LinearHead(nn.Linear):
    """A linear classifier with bias, in float32."""

    def forward(self, features: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features) logits."""
        with torch.autocast(features.device.type, enabled=False):
            return super().forward(features.float())


class EmbeddingHead(LinearHead):
    """A linear map with bias, normalised to length 1: the embedding of the instance loss."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, in_features) to (B, E), each of length 1."""
        return F.normalize(super().forward(features), dim=-1)


class ProjectionHead(nn.Sequential):
    """Two linear maps with batch norm and ReLU between, normalised to length 1, in float32.

    What is compared are embeddings by this head; the features before it are what is used (Chen et
    al., ICML 2020, section 4.2).

    Args:
        in_features: Width of the features.
        out_features: E.
        width: Between the two maps.
    """

    def __init__(self, in_features: int, out_features: int, width: int = 512) -> None:
        super().__init__(
            nn.Linear(in_features, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(inplace=True),
            nn.Linear(width, out_features),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(..., in_features) to (..., E); all leading axes are one batch for batch norm."""
        with torch.autocast(features.device.type, enabled=False):
            rows = super().forward(features.float().flatten(0, -2))
        return F.normalize(rows, dim=-1).unflatten(0, features.shape[:-1])


class CosineHead(nn.Linear):
    """Cosines between features and class vectors: LDAM's classifier, in float32.

    LDAM's margins need logits of the same scale for all classes (Cao et al., NeurIPS 2019, section
    3.2), so features and class vectors are normalised. `LDAMLoss` scales the cosines; plain
    cross-entropy of values in [-1, 1] would barely separate the classes.

    Args:
        in_features: Width of the features.
        out_features: Number of classes. Class vectors start uniform in a cube, normalised.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the class vectors."""
        self.weight.copy_(F.normalize(self.weight.uniform_(-1, 1), dim=-1))

    def forward(self, features: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features) cosines."""
        with torch.autocast(features.device.type, enabled=False):
            directions = F.normalize(features.float(), dim=-1)
            return F.linear(directions, F.normalize(self.weight, dim=-1))
