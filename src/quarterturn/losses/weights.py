"""Loss weights: by class frequency, and by the progress of the training."""

from __future__ import annotations

import torch
from torch import Tensor

from quarterturn.losses.class_counts import ClassCounts, checked_counts, on_device_of


def effective_number_weights(
    class_counts: ClassCounts, beta: float = 0.9999, *, leave_out_empty: bool = False
) -> Tensor:
    """Weights (1 - beta) / (1 - beta ** n_c), scaled to sum to the number of classes.

    The inverse of a class's effective number of images, since each additional image adds less new
    information (Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019,
    section 3.2). Beta 0 gives equal weights; as beta approaches 1, they approach the inverse
    counts.

    Args:
        class_counts: (C,) training images n_c of each class.
        beta: In [0, 1).
        leave_out_empty: Give classes without images a weight of 0, and scale the others to sum to
            their own number.

    Returns:
        (C,) float32, on the device of the counts.

    Raises:
        ValueError: Beta out of range, invalid counts, or a class without images.
    """
    if not 0 <= beta < 1:
        raise ValueError(f"beta is {beta}; expected 0 or more, below 1")
    counts = checked_counts(class_counts, leave_out_empty=leave_out_empty)
    weights = torch.where(counts > 0, (1 - beta) / (1 - beta**counts), 0.0)
    return on_device_of(class_counts, weights * (counts > 0).sum() / weights.sum())


def weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of (B,) losses, weighted by (B,) ``weights`` over their sum if given."""
    return values.mean() if weights is None else (values * weights).sum() / weights.sum()


def late_weights(weights: Tensor | None, start: float, progress: float) -> Tensor | None:
    """Weights that turn on during training; None, which stands for 1 everywhere, before.

    Both the noise-aware phase (Feng et al., CVPR 2019, section 3.2) and deferred re-weighting (Cao
    et al., NeurIPS 2019, section 3.3) have this form.

    Args:
        weights: Weights of any shape, or None for none at any time.
        start: Fraction of the epochs after which they apply.
        progress: Fraction of the epochs that are done, in whole epochs.
    """
    return weights if progress >= start else None
