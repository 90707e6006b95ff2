"""Figures of merit, from predictions and embeddings to plain numbers.

Shapes: n examples; C classes; b bins; E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Integers = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

MANY, FEW = 100, 20
"""Training images of a class: more than the first is many, fewer than the second is few."""


def per_class_accuracy(predictions: Integers, targets: Integers, num_classes: int) -> np.ndarray:
    """(C,) accuracy within each class; NaN for a class without examples."""
    hits = np.bincount(targets[predictions == targets], minlength=num_classes).astype(float)
    counts = np.bincount(targets, minlength=num_classes)
    return np.divide(hits, counts, out=np.full(num_classes, np.nan), where=counts > 0)


def group_accuracy(
    by_class: np.ndarray, train_counts: Integers, *, many: int = MANY, few: int = FEW
) -> dict[str, float | None]:
    """Mean accuracy over classes with many, a medium number of, and few training images.

    The groups are those of Liu et al. (CVPR 2019): more than 100, 20 to 100, fewer than 20.

    Args:
        by_class: (C,) accuracy within each class; NaN for a class without test examples.
        train_counts: (C,) training images of each class.
        many: Least count of ``many``, exclusive.
        few: Greatest count of ``few``, exclusive.

    Returns:
        ``{"many", "medium", "few"}``; None for a group without classes.
    """
    groups = {
        "many": train_counts > many,
        "medium": (train_counts <= many) & (train_counts >= few),
        "few": train_counts < few,
    }
    known = ~np.isnan(by_class)
    return {
        name: float(by_class[members & known].mean()) if (members & known).any() else None
        for name, members in groups.items()
    }


def classification_metrics(
    predictions: Integers,
    targets: Integers,
    class_names: list[str],
    train_counts: Integers | None = None,
    *,
    many: int = MANY,
    few: int = FEW,
) -> dict[str, Any]:
    """Top-1, balanced, worst-class and per-class accuracy, and their spread, as fractions.

    Balanced accuracy is the plain mean over the classes that have examples. Standard deviations are
    over the classes that have examples, and over the groups that have classes, with n (they are all
    there is, no sample); the smaller, the more alike classes or groups are served.

    Args:
        predictions: (n,) predicted classes.
        targets: (n,) true classes.
        class_names: (C,) names.
        train_counts: (C,) training images of each class, for `group_accuracy`.
        many: See `group_accuracy`, as for the next.
        few: See there.

    Returns:
        ``{"top1", "balanced", "worst_class", "worst_class_name", "std_over_classes", "per_class",
        "n"}``, and ``"many"``, ``"medium"``, ``"few"`` and ``"std_over_groups"`` where the training
        images were counted. ``"std_over_groups"`` is None where one group has all classes.
    """
    by_class = per_class_accuracy(predictions, targets, len(class_names))
    worst = int(np.nanargmin(by_class))
    groups: dict[str, float | None] = {}
    if train_counts is not None:
        groups = group_accuracy(by_class, train_counts, many=many, few=few)
        known = [accuracy for accuracy in groups.values() if accuracy is not None]
        groups["std_over_groups"] = float(np.std(known)) if len(known) > 1 else None
    return {
        "top1": float((predictions == targets).mean()),
        "balanced": float(np.nanmean(by_class)),
        "worst_class": float(by_class[worst]),
        "worst_class_name": class_names[worst],
        "std_over_classes": float(np.nanstd(by_class)),
        "per_class": {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(class_names, by_class, strict=True)
        },
        "n": len(targets),
        **groups,
    }


def confusion_matrix(predictions: Integers, targets: Integers, num_classes: int) -> Integers:
    """(C, C) counts: examples of the row's class that were taken for the column's."""
    pairs = np.bincount(targets * num_classes + predictions, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def mean_and_spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and standard deviation (with n - 1) of repeated figures.

    Returns:
        ``{"mean", "spread"}``: no spread for fewer than two figures, nothing where one is missing.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return {"mean": None, "spread": None}
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "spread": spread}


@dataclass(frozen=True)
class ReliabilityBins:
    """Predictions sorted into bins of equal width by their confidence.

    Attributes:
        edges: (b + 1,) from 0 to 1; a bin holds its upper edge, and the first one 0 as well.
        counts: (b,) predictions in each bin.
        confidence: (b,) their mean confidence; NaN for an empty bin, as for the next.
        accuracy: (b,) the share of them that is right.
    """

    edges: NDArray[np.float64]
    counts: Integers
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def reliability_bins(
    confidences: Floats, correct: NDArray[np.bool_], num_bins: int = 15
) -> ReliabilityBins:
    """How often predictions of each confidence are right: the data of a reliability diagram.

    Args:
        confidences: (n,) probability of the predicted class, between 0 and 1.
        correct: (n,) whether the prediction is right.
        num_bins: b.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    confidences = confidences.astype(np.float64)
    bins = np.digitize(confidences, edges[1:-1], right=True)
    counts = np.bincount(bins, minlength=num_bins)

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.bincount(bins, weights=values, minlength=num_bins)
        return np.divide(sums, counts, out=np.full(num_bins, np.nan), where=counts > 0)

    return ReliabilityBins(edges, counts, mean(confidences), mean(correct))


def expected_calibration_error(
    confidences: Floats, correct: NDArray[np.bool_], num_bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy, over bins weighted by their predictions.

    At 0, just 80 % of what is said with a confidence of 0.8 is right (Naeini et al., AAAI 2015;
    with 15 bins, Guo et al., ICML 2017).

    Args:
        confidences: (n,) probability of the predicted class, between 0 and 1.
        correct: (n,) whether the prediction is right.
        num_bins: Bins of equal width; see `reliability_bins`.
    """
    bins = reliability_bins(confidences, correct, num_bins)
    gaps = np.abs(bins.confidence - bins.accuracy)
    return float(np.nansum(gaps * bins.counts) / bins.counts.sum())


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
