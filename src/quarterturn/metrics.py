"""Figures of merit, from predictions and embeddings to plain numbers.

Shapes: n examples; C classes; E embedding width.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Integers = NDArray[np.int64]


def per_class_accuracy(predictions: Integers, targets: Integers, num_classes: int) -> np.ndarray:
    """(C,) accuracy within each class; NaN for a class without examples."""
    hits = np.bincount(targets[predictions == targets], minlength=num_classes).astype(float)
    counts = np.bincount(targets, minlength=num_classes)
    return np.divide(hits, counts, out=np.full(num_classes, np.nan), where=counts > 0)


def classification_metrics(
    predictions: Integers, targets: Integers, class_names: list[str]
) -> dict[str, object]:
    """Top-1, balanced, worst-class and per-class accuracy, as fractions.

    Balanced accuracy is the plain mean over the classes that have examples.

    Args:
        predictions: (n,) predicted classes.
        targets: (n,) true classes.
        class_names: (C,) names.

    Returns:
        ``{"top1", "balanced", "worst_class", "worst_class_name", "per_class", "n"}``.
    """
    by_class = per_class_accuracy(predictions, targets, len(class_names))
    worst = int(np.nanargmin(by_class))
    return {
        "top1": float((predictions == targets).mean()),
        "balanced": float(np.nanmean(by_class)),
        "worst_class": float(by_class[worst]),
        "worst_class_name": class_names[worst],
        "per_class": {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(class_names, by_class, strict=True)
        },
        "n": len(targets),
    }


def embedding_spread(embeddings: Tensor) -> float:
    """Variance of unit vectors around their mean: 0 when all are one, 1 when spread evenly.

    Args:
        embeddings: (n, E), normalised to length 1.
    """
    return float(1 - embeddings.double().mean(dim=0).square().sum())


def effective_rank(embeddings: Tensor) -> float:
    """Number of directions in use: exp of the entropy of the covariance's eigenvalues.

    From 1 (all on a line) to E (Roy and Vetterli, EUSIPCO 2007, on the covariance's spectrum).

    Args:
        embeddings: (n, E).
    """
    centred = (embeddings - embeddings.mean(dim=0)).double()
    variances = torch.linalg.svdvals(centred).square()
    if variances.sum() == 0:
        return 1.0
    shares = variances / variances.sum()
    return float(torch.special.entr(shares).sum().exp())
