"""The focal loss: less weight for well-classified examples.

Lin, Goyal, Girshick, He, Dollar, "Focal Loss for Dense Object Detection", ICCV 2017.

Shapes: B examples; C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.losses.precision import at_least_float32


class FocalLoss(nn.Module):
    """(1 - p) ** gamma times cross-entropy, with p the probability of the target (equation 4).

    p is that of the unweighted softmax, and a weighted mean is divided by the sum of the weights.
    The LDAM-DRW repository takes p from the weighted cross-entropy, and a plain mean.

    Args:
        gamma: 0 gives cross-entropy; the LDAM-DRW repository uses 1, the paper 2.
        reduction: ``mean``, ``sum`` or ``none``, as `torch.nn.functional.cross_entropy` reduces.

    Raises:
        ValueError: ``gamma`` is negative.
    """

    def __init__(self, gamma: float = 1.0, reduction: str = "mean") -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma is {gamma}; expected 0 or more")
        self.gamma, self.reduction = gamma, reduction

    def forward(self, logits: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss.

        Args:
            logits: (B, C); computed in float32, or in float64 if they are float64.
            targets: (B,) int64.
            weight: (C,) class weights, or None for 1.
        """
        log_p = F.log_softmax(at_least_float32(logits), dim=1)
        # 1 - p without cancellation; clamped, since its power has no finite gradient at 0.
        one_minus_p = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
        weight = None if weight is None else weight.to(log_p)
        # nll_loss selects the targets, weights and reduces exactly as cross-entropy does.
        focal_log_p = one_minus_p**self.gamma * log_p
        return F.nll_loss(focal_log_p, targets, weight, reduction=self.reduction)
