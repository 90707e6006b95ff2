"""The label-distribution-aware margin loss: larger margins for rarer classes.

Cao, Wei, Gaidon, Arechiga, Ma, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
Loss", NeurIPS 2019.

Shapes: B examples; C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.losses.class_counts import ClassCounts, checked_counts, on_device_of
from quarterturn.losses.precision import at_least_float32


def ldam_margins(
    class_counts: ClassCounts, max_margin: float = 0.5, *, leave_out_empty: bool = False
) -> Tensor:
    """Margins proportional to n_c ** -1/4, the largest of which is ``max_margin``.

    These proportions minimise the paper's bound on the balanced error (section 3.1); the scale is
    that of section 3.2.

    Args:
        class_counts: (C,) training images n_c of each class.
        max_margin: Margin of the rarest class.
        leave_out_empty: Give classes without images a margin of 0, and the others the margins that
            they would have without those classes.

    Returns:
        (C,) float32, on the device of the counts.

    Raises:
        ValueError: Invalid counts, or a class without images.
    """
    counts = checked_counts(class_counts, leave_out_empty=leave_out_empty)
    margins = torch.where(counts > 0, counts**-0.25, 0.0)
    return on_device_of(class_counts, max_margin * margins / margins.max())


def margin_logits(cosines: Tensor, targets: Tensor, margins: Tensor, scale: float) -> Tensor:
    """Subtract a margin from the cosine of each target, and scale all cosines.

    Args:
        cosines: (B, C).
        targets: (B,) int64; rows whose target is outside 0..C-1 get no margin.
        margins: (B,) margin of each example.
        scale: Factor of all cosines.

    Returns:
        (B, C), float32 or float64.
    """
    cosines = at_least_float32(cosines)
    is_target = targets[:, None] == torch.arange(cosines.shape[1], device=cosines.device)
    return scale * torch.where(is_target, cosines - margins[:, None], cosines)


class LDAMLoss(nn.Module):
    """Cross-entropy of scaled cosines, with a margin subtracted at the target (section 3.2).

    The head returns cosines (`quarterturn.models.heads.CosineHead`); the loss scales them. With
    margins of 0 this is the cross-entropy of scaled logits.

    Args:
        class_counts: (C,) training images of each class.
        max_margin: See `ldam_margins`.
        scale: Factor of the logits.
        reduction: ``mean``, ``sum`` or ``none``, as in `torch.nn.functional.cross_entropy`: a
            weighted mean is divided by the sum of the weights.
        leave_out_empty: See `ldam_margins`.

    Attributes:
        margins: (C,) margin of each class.
    """

    margins: Tensor

    def __init__(
        self,
        class_counts: ClassCounts,
        max_margin: float = 0.5,
        scale: float = 30.0,
        reduction: str = "mean",
        *,
        leave_out_empty: bool = False,
    ) -> None:
        super().__init__()
        margins = ldam_margins(class_counts, max_margin, leave_out_empty=leave_out_empty)
        self.register_buffer("margins", margins, persistent=False)
        self.scale, self.reduction = scale, reduction

    def forward(self, logits: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss.

        Args:
            logits: (B, C) cosines; computed in float32, or in float64 if they are float64.
            targets: (B,) int64.
            weight: (C,) class weights, or None for 1.
        """
        margins = self.margins.to(logits.device)[targets.clamp(min=0)]
        logits = margin_logits(logits, targets, margins, self.scale)
        weight = None if weight is None else weight.to(logits)
        return F.cross_entropy(logits, targets, weight, reduction=self.reduction)
