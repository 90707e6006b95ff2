"""Larger margins for rarer classes: the label-distribution-aware margin loss.

Cao, Wei, Gaidon, Arechiga, Ma, "Learning Imbalanced Datasets with Label-Distribution-Aware Margin
Loss", NeurIPS 2019.

Shapes: B examples; C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.losses.class_counts import ClassCounts, checked_counts, where_counted
from quarterturn.losses.precision import at_least_float32


def ldam_margins(
    class_counts: ClassCounts, max_margin: float = 0.5, *, leave_out_empty: bool = False
) -> Tensor:
    """Margins proportional to n_c ** -1/4, of which the largest is ``max_margin``.

    This trade-off between the classes minimises the paper's bound of the balanced error (section
    3.1); the scale is that of section 3.2.

    Args:
        class_counts: (C,) training images n_c of each class.
        max_margin: Margin of the rarest class.
        leave_out_empty: Give classes without images a margin of 0, and let the others' be as if
            those were not there.

    Returns:
        (C,) float32, on the device of the counts.

    Raises:
        ValueError: Counts that cannot be, or a class without images.
    """
    counts = checked_counts(class_counts, leave_out_empty=leave_out_empty)
    margins = torch.where(counts > 0, counts**-0.25, 0.0)
    return where_counted(max_margin * margins / margins.max(), class_counts)


def margin_logits(cosines: Tensor, targets: Tensor, margins: Tensor, scale: float) -> Tensor:
    """Cosines, less a margin at each target, times a scale.

    Args:
        cosines: (B, C).
        targets: (B,) int64; one that is no class of the C keeps its row as it is.
        margins: (B,) of each example.
        scale: Multiplies all.

    Returns:
        (B, C), float32 or float64.
    """
    cosines = at_least_float32(cosines)
    is_target = targets[:, None] == torch.arange(cosines.shape[1], device=cosines.device)
    return scale * torch.where(is_target, cosines - margins[:, None], cosines)


class LDAMLoss(nn.Module):
    """Cross-entropy of scaled cosines, less a margin at the target (section 3.2).

    The head takes cosines (`quarterturn.models.heads.CosineHead`); the scale is inside the loss.
    With margins of 0 this is cross-entropy of scaled logits.

    Args:
        class_counts: (C,) training images of each class.
        max_margin: See `ldam_margins`.
        scale: Multiplies the logits.
        reduction: ``mean``, ``sum`` or ``none``, as `torch.nn.functional.cross_entropy` reduces:
            the mean of a weighted loss is divided by the sum of the weights.
        leave_out_empty: See `ldam_margins`.

    Attributes:
        margins: (C,).
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
            logits: (B, C) cosines; computed in float32, or float64 where they are.
            targets: (B,) int64.
            weight: (C,) weights of the classes, or None for 1.
        """
        of_targets = self.margins.to(logits.device)[targets.clamp(min=0)]
        logits = margin_logits(logits, targets, of_targets, self.scale)
        weight = None if weight is None else weight.to(logits)
        return F.cross_entropy(logits, targets, weight, reduction=self.reduction)
