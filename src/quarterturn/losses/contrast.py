"""The instance loss between views: tell an image's views from all views of other images.

Shapes: B images of this process in L views; B' images of all processes; E embedding width.
Embeddings have length 1, so their dot products are cosines.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from quarterturn.losses.precision import at_least_float32
from quarterturn.losses.weights import weighted_mean


def contrastive_loss(
    embeddings: Tensor,
    everyones: Tensor | None = None,
    *,
    temperature: float,
    margins: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Softmax cross-entropy of each pair of views of an image against views of other images.

    With s the cosine over the temperature, an image's loss is the mean, over its ordered pairs of
    views i and p, of

        -log(exp(s_ip) / (exp(s_ip) + sum over all views n of other images of exp(s_in)))

    Other positives of i are not in the denominator. With two views this is SimCLR's loss (Chen et
    al., ICML 2020, equation 1).

    Args:
        embeddings: (B, L, E), at least two views; computed in float32, or in float64
            if they are float64.
        everyones: (B', L, E), ``embeddings`` first and then those of other processes, with
            gradients; None where there is one process.
        temperature: Divides the cosines.
        margins: (B,) taken off the cosines of an image's own views, or None.
        weights: (B,) of the images, divided by their sum, or None for a plain mean.

    Returns:
        Scalar: mean over the images.
    """
    num_images, num_views, _ = embeddings.shape
    mine = at_least_float32(embeddings)
    others = mine if everyones is None else at_least_float32(everyones)
    # Autocast would compute the products in bfloat16, which has three digits.
    with torch.autocast(mine.device.type, enabled=False):
        cosines = mine.flatten(0, 1) @ others.flatten(0, 1).T  # (B*L, B'*L)
    cosines = cosines.unflatten(1, (-1, num_views)).unflatten(0, (-1, num_views))  # (B, L, B', L)
    positives = cosines[:, :, :num_images].diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (B, L, L)
    own = torch.eye(num_images, len(others), dtype=torch.bool, device=mine.device)
    negatives = (cosines / temperature).masked_fill(own[:, None, :, None], -torch.inf)
    negatives = negatives.flatten(2).logsumexp(dim=2)  # (B, L)
    if margins is not None:
        positives = positives - margins[:, None, None]
    # -log(exp(s) / (exp(s) + exp(n))) = softplus(n - s), which does not overflow.
    of_pairs = F.softplus(negatives[:, :, None] - positives / temperature)  # (B, L, L)
    itself = torch.eye(num_views, dtype=torch.bool, device=mine.device)
    of_images = of_pairs.masked_fill(itself, 0).sum(dim=(1, 2)) / (num_views * (num_views - 1))
    return weighted_mean(of_images, weights)
