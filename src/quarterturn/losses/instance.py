"""Telling every image from every other: NCE and InfoNCE against a memory bank.

Shapes: B images in the batch; E embedding width; K noise samples; N images in the data set.
Embeddings and bank rows have length 1, so their products are cosines.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from quarterturn.losses.weights import weighted_mean


def nce_loss(
    embedding: Tensor,
    positive: Tensor,
    noise: Tensor,
    *,
    num_instances: int,
    temperature: float,
    normalizer: Tensor | float,
) -> Tensor:
    """Noise-contrastive estimation of a softmax over all N images.

    With P(j|v) = exp(v.m_j / temperature) / Z and uniform noise P_n = 1/N, the loss of one image is

        -log(P_i / (P_i + K/N)) - sum over K noise j of log((K/N) / (P_j + K/N))

    (Wu et al., CVPR 2018, equations 4 to 8; Feng et al., CVPR 2019, section 3.3). The image itself
    may be among the noise and is not masked out. On small collections a constant Z is soon far too
    small and the loss explodes; `infonce_loss` has no Z.

    Args:
        embedding: (B, E), this step's embeddings.
        positive: (B, E), the images' own rows in the memory bank.
        noise: (K, E), shared by the batch, or (B, K, E), rows of the noise samples.
        num_instances: N.
        temperature: Divides the cosines; the paper's is 0.07.
        normalizer: Z, see `nce_normalizer`.

    Returns:
        Scalar, float32: mean over the batch.
    """
    logits = instance_logits(embedding, positive, noise, temperature)
    return nce_of_logits(*logits, num_instances=num_instances, normalizer=normalizer)


def nce_normalizer(
    embedding: Tensor, positive: Tensor, noise: Tensor, *, num_instances: int, temperature: float
) -> Tensor:
    """Estimate of Z: N * mean of exp(v.m / temperature) over a batch's positives and noise.

    Made once, on the first batch, and kept (Wu et al., CVPR 2018, section 3.3). Arguments as for
    `nce_loss`. Returns a scalar without gradient.
    """
    logits = instance_logits(embedding, positive, noise, temperature)
    return normalizer_of_logits(*logits, num_instances=num_instances)


def infonce_loss(
    embedding: Tensor,
    positive: Tensor,
    noise: Tensor,
    *,
    temperature: float,
    mask: Tensor | None = None,
) -> Tensor:
    """Softmax cross-entropy of the positive against the noise (van den Oord et al., 2018).

    Args:
        embedding: (B, E), this step's embeddings.
        positive: (B, E), the images' own rows in the memory bank.
        noise: (K, E), shared by the batch, or (B, K, E).
        temperature: Divides the cosines.
        mask: (B, K) bool, True where a noise sample is the image itself and is left out.

    Returns:
        Scalar, float32: mean over the batch.
    """
    return infonce_of_logits(*instance_logits(embedding, positive, noise, temperature), mask)


def instance_logits(
    embedding: Tensor, positive: Tensor, noise: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """(B,) logits of the positives and (B, K) of the noise, in float32; see `nce_loss`."""
    embedding, positive, noise = embedding.float(), positive.float(), noise.float()
    # Autocast would lower the products to bfloat16 again, which has three digits.
    with torch.autocast(embedding.device.type, enabled=False):
        of_positive = (embedding * positive).sum(dim=1)
        if noise.ndim == 2:
            of_noise = embedding @ noise.T
        else:
            of_noise = torch.bmm(noise, embedding[:, :, None]).squeeze(2)
    return of_positive / temperature, of_noise / temperature


def gathered_logits(
    embedding: Tensor, rows: Tensor, indices: Tensor, chosen: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """`instance_logits` of a bank's rows, without a copy of the noise for each image.

    Args:
        embedding: (B, E), this step's embeddings.
        rows: (N, E), the memory bank, float32; it gets no gradient.
        indices: (B,) numbers of the images.
        chosen: (B, K) numbers of the noise.
        temperature: Divides the cosines.
    """
    embedding = embedding.float()
    with torch.autocast(embedding.device.type, enabled=False):
        of_positive = (embedding * rows[indices]).sum(dim=1)
        of_noise = _GatheredProducts.apply(embedding, rows, chosen)
    return of_positive / temperature, of_noise / temperature


def nce_of_logits(
    positive: Tensor,
    noise: Tensor,
    *,
    num_instances: int,
    normalizer: Tensor | float,
    weights: Tensor | None = None,
) -> Tensor:
    """`nce_loss` of (B,) and (B, K) logits, weighted by (B,) where there are weights."""
    log_z = torch.as_tensor(normalizer, dtype=torch.float32, device=noise.device).log()
    log_noise = math.log(noise.shape[1] / num_instances)  # log of K * P_n
    # -log(p / (p + c)) = softplus(log c - log p), which neither overflows nor divides by zero.
    of_positive = F.softplus(log_noise + log_z - positive)
    of_noise = F.softplus(noise - log_z - log_noise).sum(dim=1)
    return weighted_mean(of_positive + of_noise, weights)


@torch.no_grad()
def normalizer_of_logits(positive: Tensor, noise: Tensor, *, num_instances: int) -> Tensor:
    """`nce_normalizer` of (B,) and (B, K) logits."""
    return num_instances * torch.cat([positive[:, None], noise], dim=1).exp().mean()


def infonce_of_logits(
    positive: Tensor, noise: Tensor, mask: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """`infonce_loss` of (B,) and (B, K) logits, weighted by (B,) where there are weights."""
    if mask is not None:
        noise = noise.masked_fill(mask, -torch.inf)
    logits = torch.cat([positive[:, None], noise], dim=1)
    targets = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    if weights is None:
        return F.cross_entropy(logits, targets)
    return weighted_mean(F.cross_entropy(logits, targets, reduction="none"), weights)


class _GatheredProducts(torch.autograd.Function):
    """products_ik = rows_c(i,k) . embedding_i, for c = chosen.

    Gathering the rows first would write and read B x K x E numbers, 400 MB for the paper's batch,
    forward and again backward. ``embedding_bag`` sums weighted rows as it reads them: that is the
    gradient here, and its own gradient by the weights is the product. A sum with weights of zero is
    made for nothing but that gradient; it costs a tenth of what the gather did.
    """

    @staticmethod
    def forward(ctx: Any, embedding: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
        ctx.save_for_backward(rows, chosen)
        with torch.enable_grad():
            weights = torch.zeros(chosen.shape, device=chosen.device, requires_grad=True)
            bags = F.embedding_bag(chosen, rows, per_sample_weights=weights, mode="sum")
            return torch.autograd.grad(bags, weights, embedding.contiguous())[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        rows, chosen = ctx.saved_tensors
        weights = gradients[0].contiguous()
        return F.embedding_bag(chosen, rows, per_sample_weights=weights, mode="sum"), None, None
