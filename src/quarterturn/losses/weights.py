"""Loss weights over time."""

from __future__ import annotations

from torch import Tensor


def late_weights(weights: Tensor | None, start: float, progress: float) -> Tensor | None:
    """Weights that turn on at a time: None, which stands for 1 everywhere, before it.

    The noise-aware phase (Feng et al., CVPR 2019, section 3.2) and deferred re-weighting (Cao et
    al., NeurIPS 2019, section 3.3) are both of this form.

    Args:
        weights: Of any shape, or None where there are none at any time.
        start: Fraction of the epochs after which they are in force.
        progress: Fraction of the epochs that are done, in whole epochs.
    """
    return weights if progress >= start else None
