"""Metrics of classifiers: from predictions to plain numbers.

Shapes: n examples; C classes; b bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]

MANY, FEW = 100, 20
"""A class has many training images if there are more than the first, few if fewer than the
second."""


def per_class_accuracy(predictions: Integers, targets: Integers, num_classes: int) -> np.ndarray:
    """(C,) accuracy within each class; NaN for a class without examples."""
    hits = np.bincount(targets[predictions == targets], minlength=num_classes).astype(float)
    counts = np.bincount(targets, minlength=num_classes)
    return np.divide(hits, counts, out=np.full(num_classes, np.nan), where=counts > 0)


def group_accuracy(
    by_class: np.ndarray, train_counts: Integers, *, many: int = MANY, few: int = FEW
) -> dict[str, float | None]:
    """Mean accuracy over classes with many, medium and few training images.

    The groups are those of Liu et al. (CVPR 2019): more than 100, 20 to 100, fewer than 20.

    Args:
        by_class: (C,) accuracy within each class; NaN for a class without test examples.
        train_counts: (C,) training images of each class.
        many: Classes with more training images are ``many``.
        few: Classes with fewer training images are ``few``.

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
    over the classes that have examples, and over the groups that have classes, divided by n, since
    these are whole populations; smaller values mean that classes or groups fare more alike.

    Args:
        predictions: (n,) predicted classes.
        targets: (n,) true classes.
        class_names: (C,) names.
        train_counts: (C,) training images of each class, for `group_accuracy`.
        many: See `group_accuracy`.
        few: See `group_accuracy`.

    Returns:
        ``{"top1", "balanced", "worst_class", "worst_class_name", "std_over_classes", "per_class",
        "n"}``; with ``train_counts`` also ``"many"``, ``"medium"``, ``"few"`` and
        ``"std_over_groups"``, which is None if one group has all classes.
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
    """(C, C) counts of examples, by true class (row) and predicted class (column)."""
    pairs = np.bincount(targets * num_classes + predictions, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def guessing_accuracy(confusion: Integers) -> float:
    """Accuracy of drawing predictions blindly, each class as often as it was predicted.

    It is the expected agreement of Cohen's kappa (Cohen, 1960): the share of the largest class for
    a classifier that always predicts that one, 1/C where classes are equally frequent.

    Args:
        confusion: (C, C) counts of examples, by `confusion_matrix`.
    """
    return float(confusion.sum(axis=0) @ confusion.sum(axis=1) / confusion.sum() ** 2)


def mean_and_spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and standard deviation (divided by n - 1) of repeated measurements.

    Returns:
        ``{"mean", "spread"}``; the spread is None for fewer than two values, and both are None if a
        value is missing.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return {"mean": None, "spread": None}
    spread = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "spread": spread}


@dataclass(frozen=True)
class ReliabilityBins:
    """Predictions in bins of equal width by their confidence.

    Attributes:
        edges: (b + 1,) from 0 to 1; bins include their upper edge, and the first one also 0.
        counts: (b,) predictions in each bin.
        confidence: (b,) mean confidence; NaN for an empty bin.
        accuracy: (b,) share of correct predictions; NaN for an empty bin.
    """

    edges: NDArray[np.float64]
    counts: Integers
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def reliability_bins(
    confidences: Floats, correct: NDArray[np.bool_], num_bins: int = 15
) -> ReliabilityBins:
    """Accuracy by confidence: the data of a reliability diagram.

    Args:
        confidences: (n,) probability of the predicted class, between 0 and 1.
        correct: (n,) whether the prediction is correct.
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
    """Mean gap between confidence and accuracy over bins, weighted by their size.

    At 0, exactly 80 % of the predictions with confidence 0.8 are correct (Naeini et al., AAAI 2015;
    with 15 bins, Guo et al., ICML 2017).

    Args:
        confidences: (n,) probability of the predicted class, between 0 and 1.
        correct: (n,) whether the prediction is correct.
        num_bins: Bins of equal width; see `reliability_bins`.
    """
    bins = reliability_bins(confidences, correct, num_bins)
    gaps = np.abs(bins.confidence - bins.accuracy)
    return float(np.nansum(gaps * bins.counts) / bins.counts.sum())
