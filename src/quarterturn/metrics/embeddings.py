"""Metrics of embeddings: how much of their space they use.

Shapes: n examples; E embedding width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def embedding_spread(embeddings: Tensor) -> float:
    """Variance of unit vectors around their mean: 0 if all are equal, 1 if spread evenly.

    Args:
        embeddings: (n, E), normalised to length 1.
    """
    return float(1 - embeddings.double().mean(dim=0).square().sum())


def effective_rank(embeddings: Tensor) -> float:
    """Effective number of dimensions: exp of the entropy of the covariance's eigenvalues.

    From 1 (all on a line) to E (Roy and Vetterli, EUSIPCO 2007, applied to the covariance).

    Args:
        embeddings: (n, E).
    """
    centred = (embeddings - embeddings.mean(dim=0)).double()
    variances = torch.linalg.svdvals(centred).square()
    if variances.sum() == 0:
        return 1.0
    shares = variances / variances.sum()
    return float(torch.special.entr(shares).sum().exp())
