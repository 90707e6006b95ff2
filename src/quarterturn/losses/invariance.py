"""The invariance loss: equal features for all rotations of an image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from quarterturn.losses.weights import weighted_mean


def invariance_loss(features: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error between each copy's feature and the mean over an image's copies.

    The mean is detached, a fixed target for the copies (Feng et al., CVPR 2019, section 3.3).

    Args:
        features: (B, 4, D/2), the invariant half of each copy, of which there may be any number;
            any floating type.
        weights: (B,) weights of the images, divided by their sum; None for a plain mean.

    Returns:
        Scalar, float32: the mean over all B * 4 * D/2 elements.
    """
    features = features.float()
    target = features.mean(dim=1, keepdim=True).detach()
    if weights is None:
        return F.mse_loss(features, target.expand_as(features))
    return weighted_mean((features - target).square().mean(dim=(1, 2)), weights.float())
