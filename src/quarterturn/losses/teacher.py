"""The distance from what a trained network says.

Shapes: B images; D feature width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def teacher_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """One less the cosine between predicted features and a teacher's, averaged over the images.

    A form of knowledge distillation (Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural
    Network", 2015) on features. Their length does not count: it is the direction that neighbours
    and linear classifiers are found by.

    Args:
        predicted: (B, D).
        target: (B, D), without gradient.

    Returns:
        Scalar, float32, from 0 to 2.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        cosines = F.cosine_similarity(predicted.float(), target.detach().float(), dim=1)
        return (1 - cosines).mean()
