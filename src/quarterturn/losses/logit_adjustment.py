"""Logit adjustment: logits corrected for class frequencies.

Menon et al., "Long-Tail Learning via Logit Adjustment", ICLR 2021. In the loss, with strength 1, it
is the balanced softmax of Ren et al., "Balanced Meta-Softmax for Long-Tailed Visual Recognition",
NeurIPS 2020.

Shapes: B examples; C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.losses.class_counts import ClassCounts, checked_counts, on_device_of
from quarterturn.losses.precision import at_least_float32


def log_prior(class_counts: ClassCounts, *, leave_out_empty: bool = False) -> Tensor:
    """Logarithm of each class's share of the images.

    Args:
        class_counts: (C,) training images of each class.
        leave_out_empty: Give classes without images -inf.

    Returns:
        (C,) float32, on the device of the counts.

    Raises:
        ValueError: Invalid counts, or a class without images.
    """
    counts = checked_counts(class_counts, leave_out_empty=leave_out_empty)
    return on_device_of(class_counts, (counts / counts.sum()).log())


def adjust_logits(logits: Tensor, log_priors: Tensor, strength: float = 1.0) -> Tensor:
    """Logits of a trained classifier minus ``strength`` * log prior (Menon et al., equation 9).

    A network trained by plain cross-entropy then predicts as if all classes were equally frequent.

    Args:
        logits: (B, C).
        log_priors: (C,), see `log_prior`. A class with -inf is never predicted, at any strength.
        strength: 1 removes the prior, 0 keeps it.

    Returns:
        (B, C), float32 or float64.
    """
    priors = log_priors.to(at_least_float32(logits))
    return torch.where(priors.isinf(), -torch.inf, at_least_float32(logits) - strength * priors)


class LogitAdjustedLoss(nn.Module):
    """Cross-entropy of logits + ``strength`` * log prior (Menon et al., equation 10).

    With strength 1, the default, this is the balanced softmax (Ren et al., section 3), which uses
    counts in place of shares: the softmax is the same.

    Args:
        class_counts: (C,) training images of each class.
        strength: tau in the paper.
        reduction: ``mean``, ``sum`` or ``none``, as in `torch.nn.functional.cross_entropy`.
        leave_out_empty: Leave classes without images out of the softmax.

    Raises:
        ValueError: Invalid counts, or a class without images.
    """

    log_priors: Tensor

    def __init__(
        self,
        class_counts: ClassCounts,
        strength: float = 1.0,
        reduction: str = "mean",
        *,
        leave_out_empty: bool = False,
    ) -> None:
        super().__init__()
        log_priors = log_prior(class_counts, leave_out_empty=leave_out_empty)
        self.register_buffer("log_priors", log_priors, persistent=False)
        self.strength, self.reduction = strength, reduction

    def forward(self, logits: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss.

        Args:
            logits: (B, C); computed in float32, or in float64 if they are float64.
            targets: (B,) int64.
            weight: (C,) class weights, or None for 1.
        """
        # A negative strength adds the log prior, and still leaves empty classes out.
        logits = adjust_logits(logits, self.log_priors, -self.strength)
        weight = None if weight is None else weight.to(logits)
        return F.cross_entropy(logits, targets, weight, reduction=self.reduction)
