"""The loss of regions of images: which class each is of, and how far its box is from the object's.

Shapes: R regions; C classes, numbered from 1, 0 being the background.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def region_losses(
    scores: Tensor, offsets: Tensor, classes: Tensor, targets: Tensor
) -> dict[str, Tensor]:
    """The loss of Fast R-CNN (Girshick, ICCV 2015), each term a mean over all regions.

    Args:
        scores: (R, C + 1) logits.
        offsets: (R, 4 (C + 1)): four for each class.
        classes: (R,) int64 true classes.
        targets: (R, 4) what the offsets of the true class should be; those of the background count
            for nothing.

    Returns:
        ``"classification"``, softmax cross-entropy, and ``"boxes"``, smooth L1 summed over the four
        offsets of the true class: half the square of a difference below 1, the difference less one
        half above. Both are 0 for no regions.
    """
    scores, offsets = scores.float(), offsets.float()
    regions = max(1, len(classes))
    rows = torch.arange(len(classes), device=classes.device)
    of_class = offsets.unflatten(1, (-1, 4))[rows, classes]  # (R, 4)
    distance = F.smooth_l1_loss(of_class, targets, beta=1.0, reduction="none").sum(dim=1)
    return {
        "classification": F.cross_entropy(scores, classes, reduction="sum") / regions,
        "boxes": (distance * (classes > 0)).sum() / regions,
    }
