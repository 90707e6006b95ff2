"""Instance discrimination: NCE and InfoNCE against a memory bank.

Shapes: B images in the batch; E embedding width; K noise samples; N images in the data set.
Embeddings and bank rows have length 1, so their dot products are cosines.
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

    (Wu et al., CVPR 2018, equations 4 to 8; Feng et al., CVPR 2019, section 3.3). An image may be
    among its own noise samples and is not masked out. On small collections a constant Z soon
    becomes far too small and the loss explodes; `infonce_loss` has no Z.

    Args:
        embedding: (B, E), this step's embeddings.
        positive: (B, E), the images' own rows in the memory bank.
        noise: Rows of the noise samples, (K, E) if shared by the batch, or (B, K, E).
        num_instances: N.
        temperature: Divides the cosines; 0.07 in the paper.
        normalizer: Z, see `nce_normalizer`.

    Returns:
        Scalar, float32: mean over the batch.
    """
    logits = instance_logits(embedding, positive, noise, temperature)
    return nce_of_logits(*logits, num_instances=num_instances, normalizer=normalizer)


def nce_normalizer(
    embedding: Tensor, positive: Tensor, noise: Tensor, *, num_instances: int, temperature: float
) -> Tensor:
    """Estimate Z as N * mean of exp(v.m / temperature) over a batch's positives and noise.

    It is estimated once, on the first batch, and stays constant (Wu et al., CVPR 2018, section
    3.3). Arguments as for `nce_loss`. Returns a scalar without gradient.
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
        mask: (B, K) bool, True where a noise sample is the image itself, to be left out.

    Returns:
        Scalar, float32: mean over the batch.
    """
    return infonce_of_logits(*instance_logits(embedding, positive, noise, temperature), mask)


def instance_logits(
    embedding: Tensor, positive: Tensor, noise: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """(B,) logits of the positives and (B, K) of the noise, in float32; see `nce_loss`."""
    embedding, positive, noise = embedding.float(), positive.float(), noise.float()
    # Autocast would compute the products in bfloat16, which has three digits.
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
    """`instance_logits` from the bank and row numbers, without copying the noise rows.

    Args:
        embedding: (B, E), this step's embeddings.
        rows: (N, E), the memory bank, float32; it gets no gradient.
        indices: (B,) rows of the images.
        chosen: (B, K) rows of the noise samples.
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
    """`nce_loss` from (B,) and (B, K) logits, weighted by (B,) ``weights`` if given."""
    log_z = torch.as_tensor(normalizer, dtype=torch.float32, device=noise.device).log()
    log_noise = math.log(noise.shape[1] / num_instances)  # log of K * P_n
    # -log(p / (p + c)) = softplus(log c - log p), which neither overflows nor divides by zero.
    of_positive = F.softplus(log_noise + log_z - positive)
    of_noise = F.softplus(noise - log_z - log_noise).sum(dim=1)
    return weighted_mean(of_positive + of_noise, weights)


@torch.no_grad()
def normalizer_of_logits(positive: Tensor, noise: Tensor, *, num_instances: int) -> Tensor:
    """`nce_normalizer` from (B,) and (B, K) logits."""
    return num_instances * torch.cat([positive[:, None], noise], dim=1).exp().mean()


def infonce_of_logits(
    positive: Tensor, noise: Tensor, mask: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """`infonce_loss` from (B,) and (B, K) logits, weighted by (B,) ``weights`` if given."""
    if mask is not None:
        noise = noise.masked_fill(mask, -torch.inf)
    logits = torch.cat([positive[:, None], noise], dim=1)
    targets = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    if weights is None:
        return F.cross_entropy(logits, targets)
    return weighted_mean(F.cross_entropy(logits, targets, reduction="none"), weights)


class _GatheredProducts(torch.autograd.Function):
    """products_ik = rows_c(i,k) . embedding_i, with c = chosen.

    Gathering the rows would write and read B x K x E numbers, 400 MB for the paper's batch, both
    forward and backward. ``embedding_bag`` sums weighted rows as it reads them. That sum is the
    backward pass here, and its gradient with respect to the weights is the forward pass; it is
    taken of a sum with zero weights. This costs a tenth of the gather.
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
