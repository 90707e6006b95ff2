"""The rotation loss, with weights that discount images without an "up".

Shapes: B images in R = 4 copies, copy k turned by k quarter turns; N images in the data set.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from quarterturn.losses.ldam import margin_logits
from quarterturn.losses.weights import weighted_mean


def rotation_loss(
    logits: Tensor,
    weights: Tensor | None = None,
    *,
    margins: Tensor | None = None,
    scale: float = 1.0,
    balance: Tensor | None = None,
) -> Tensor:
    """Weighted cross-entropy of the predicted quarter turns.

    The weighted sum over the B*4 copies is divided by B*4, not by the sum of the weights, so a
    small weight lowers the loss of its copy without raising that of the others (Feng et al., CVPR
    2019, section 3.2).

    Args:
        logits: (B, 4, 4), copy by class; computed in float32.
        weights: (B, 4), image by copy, or None for 1.
        margins: (B, 4) subtracted from the true turn's logit, as in LDAM; the logits must then be
            cosines.
        scale: Factor of the cosines, used with ``margins``.
        balance: (B, 4) weights that raise rare copies; unlike ``weights``, the loss is divided by
            their sum instead of B*4.

    Returns:
        Scalar, float32.
    """
    turns = torch.arange(4, device=logits.device).expand(logits.shape[:2])
    return turn_loss(logits, turns, weights, margins=margins, scale=scale, balance=balance)


def turn_loss(
    logits: Tensor,
    turns: Tensor,
    weights: Tensor | None = None,
    *,
    margins: Tensor | None = None,
    scale: float = 1.0,
    balance: Tensor | None = None,
) -> Tensor:
    """`rotation_loss` of L views of each image, in turns of their own in place of all four.

    Args:
        logits: (B, L, 4), view by class; computed in float32.
        turns: (B, L) int64, the quarter turns of the views.
        weights: (B, L), image by view, or None for 1.
        margins: (B, L), as for `rotation_loss`.
        scale: Likewise.
        balance: (B, L), likewise.

    Returns:
        Scalar, float32.
    """
    targets = turns.flatten()
    logits = logits.float().flatten(0, 1)
    if margins is not None:
        logits = margin_logits(logits, targets, margins.flatten(), scale)
    per_view = F.cross_entropy(logits, targets, reduction="none")
    if weights is not None:
        per_view = per_view * weights.float().flatten()
    if balance is not None:
        return weighted_mean(per_view, balance.float().flatten())
    return per_view.sum() / len(targets)


def predicted_turns(logits: Tensor, turns: Tensor | None = None) -> Tensor:
    """Which turns are predicted, to count the accuracy by.

    Args:
        logits: (B, 4, 4), copy by class; or (B, L, 4), view by class.
        turns: (B, L) those of the views; None for copies in all four.

    Returns:
        (B, 4) or (B, L), 1 where the turn is predicted, else 0.
    """
    if turns is None:
        turns = torch.arange(4, device=logits.device)
    return (logits.detach().argmax(dim=-1) == turns).float()


def pu_weights(p_upright: Tensor, gamma: float = 2.0) -> Tensor:
    """Weights of the rotation loss from positive-unlabelled learning.

    An upright image is a certain positive. A turned copy is unlabelled: if the image has no "up",
    the copy looks upright too and its rotation label is noise. So
    w_ik = 1 - p_upright[i, k] ** gamma for k > 0, and 1 for k = 0 (Feng et al., CVPR 2019,
    section 3.2).

    Args:
        p_upright: (N, 4), probability in [0, 1] that copy k of image i looks upright.
        gamma: Exponent; larger values discount only confident cases.

    Returns:
        (N, 4), of the same type.

    Raises:
        ValueError: Wrong shape, or values outside [0, 1].
    """
    if p_upright.ndim != 2 or p_upright.shape[1] != 4:
        raise ValueError(f"p_upright must be (N, 4), found {tuple(p_upright.shape)}")
    if not bool(((p_upright >= 0) & (p_upright <= 1)).all()):
        raise ValueError("p_upright must hold probabilities in [0, 1]")
    weights = 1 - p_upright**gamma
    weights[:, 0] = 1
    return weights
