"""Equal features for all rotations of an image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from quarterturn.losses.weights import weighted_mean


def invariance_loss(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared distance of each copy's feature to the mean over the copies.

    The mean is a fixed target (detached), so the copies are drawn towards it (Feng et al., CVPR
    2019, section 3.3).

    Args:
        features: (B, 4, D/2), the invariant half for each copy; any floating type.
        weights: (B,) of the images, whose weighted mean is divided by their sum; None for 1.

    Returns:
        Scalar, float32: the mean over all B * 4 * D/2 elements.
    """
    features = features.float()
    target = features.mean(dim=1, keepdim=True).detach()
    if weights is None:
        return F.mse_loss(features, target.expand_as(features))
    return weighted_mean((features - target).square().mean(dim=(1, 2)), weights.float())
