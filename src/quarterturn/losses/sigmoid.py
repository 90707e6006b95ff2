"""Sigmoid cross-entropy: the loss of images with several labels each.

Shapes: B images; C classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from quarterturn.losses.precision import at_least_float32


def sigmoid_loss(logits: Tensor, label_sets: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sigmoid cross-entropy, summed over the classes and divided by B.

    Ignored entries add nothing, and B stays what it is: so Krähenbühl et al. (ICLR 2016) train on
    VOC2007. A mean over the entries would be a C times smaller gradient.

    Args:
        logits: (B, C); computed in float32, or in float64 if they are float64.
        label_sets: (B, C) integers: 1 present, 0 absent, -1 ignored.
        weight: (C,) class weights, or None for 1.

    Returns:
        A scalar.
    """
    logits = at_least_float32(logits)
    counts = (label_sets >= 0).to(logits)
    if weight is not None:
        counts = counts * weight.to(logits)
    return F.binary_cross_entropy_with_logits(
        logits, (label_sets > 0).to(logits), counts, reduction="sum"
    ) / len(logits)
