"""Less weight for examples that are told well already: the focal loss.

Lin, Goyal, Girshick, He, Dollar, "Focal Loss for Dense Object Detection", ICCV 2017.

Shapes: B examples; C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.losses.precision import at_least_float32


class FocalLoss(nn.Module):
    """(1 - p) ** gamma times cross-entropy, p the probability of the target (equation 4).

    p comes from the plain softmax, and a weighted mean is divided by the sum of the weights; the
    LDAM-DRW repository takes p from the weighted cross-entropy, and a plain mean.

    Args:
        gamma: 0 is cross-entropy; 1 is what the LDAM-DRW repository takes, 2 the paper.
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
            logits: (B, C); computed in float32, or float64 where they are.
            targets: (B,) int64.
            weight: (C,) weights of the classes, or None for 1.
        """
        log_p = F.log_softmax(at_least_float32(logits), dim=1)
        # 1 - p without loss of digits; where it is 0, its power would have no finite slope.
        rest = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
        weight = None if weight is None else weight.to(log_p)
        # The likelihood of the modified logarithms picks, weights and reduces as cross-entropy.
        return F.nll_loss(rest**self.gamma * log_p, targets, weight, reduction=self.reduction)
