"""Class counts, as the losses for the long tail take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ClassCounts = Sequence[float] | NDArray[np.integer | np.floating] | Tensor
"""(C,) images of each class. Expected counts need not be integers."""


def checked_counts(class_counts: ClassCounts, *, leave_out_empty: bool = False) -> Tensor:
    """Validated counts, (C,) float64 on the CPU, since not every device has float64.

    Args:
        class_counts: (C,) images of each class.
        leave_out_empty: Accept classes without images.

    Raises:
        ValueError: There are no classes, a count is negative or not finite, all counts are 0, or
            one is 0 and ``leave_out_empty`` is off.
    """
    counts = torch.as_tensor(class_counts).cpu().double()
    if counts.ndim != 1 or len(counts) == 0:
        raise ValueError(f"class_counts must be (C,), found {tuple(counts.shape)}")
    if not bool((counts.isfinite() & (counts >= 0)).all()):
        raise ValueError(f"class_counts must be finite and 0 or more, found {counts.tolist()}")
    empty = (counts == 0).nonzero().flatten().tolist()
    if len(empty) == len(counts):
        raise ValueError("class_counts has no images at all")
    if empty and not leave_out_empty:
        raise ValueError(
            f"no images of class {', '.join(map(str, empty))}: a class without images has no "
            "margin or weight; leave_out_empty=True leaves such classes out"
        )
    return counts


def on_device_of(class_counts: ClassCounts, values: Tensor) -> Tensor:
    """Values computed from counts, in float32 on the counts' device."""
    device = class_counts.device if isinstance(class_counts, Tensor) else None
    return values.float().to(device)
