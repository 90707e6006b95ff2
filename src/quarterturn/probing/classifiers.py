"""The classifiers of probes, by one contract: fitted to features, they predict from others.

Shapes: n training and m other images; d feature width; C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.label_sets import class_counts
from quarterturn.data.row_subset import Matrix
from quarterturn.features.extraction import LabelledFeatures
from quarterturn.probing.few_shot import draw, few_shot_classifier
from quarterturn.probing.knn import knn_predict
from quarterturn.probing.linear import linear_classifier, linear_classifiers
from quarterturn.runs.records import few_shot_name

CHUNK = 4096
"""Images that scikit-learn predicts at a time: it copies their features."""

Predictions = dict[str, NDArray[Any]]
"""By the names of classifiers: (m,) predicted classes, or where images have several labels each
(m, C) scores."""


@dataclass(frozen=True)
class Classifier:
    """A classifier of one part of the features, or several that share their work.

    Attributes:
        class_counts: (C,) training images of each class.
        predict: (m, d) features to predictions.
        chosen: Settings that it has chosen by training labels, in plain values.
    """

    class_counts: NDArray[np.int64]
    predict: Callable[[Matrix], Predictions]
    chosen: dict[str, Any] = field(default_factory=dict)


def nearest_neighbours(
    train: LabelledFeatures, ks: tuple[int, ...], num_classes: int
) -> Classifier:
    """The weighted kNN classifiers of several k."""

    def predict(values: Matrix) -> Predictions:
        by_k = knn_predict(train.values, train.labels, values, ks, num_classes=num_classes)
        return {f"knn-{k}": predicted for k, predicted in by_k.items()}

    return Classifier(_class_counts(train, num_classes), predict)


def linear(train: LabelledFeatures, num_classes: int) -> Classifier:
    """Logistic regression on all training images; of each class, where images have several."""
    if train.labels.ndim == 2:
        of_classes = linear_classifiers(train.values[:], train.labels)
        return Classifier(_class_counts(train, num_classes), _in_chunks("linear", of_classes))
    fitted = linear_classifier(train.values[:], train.labels)
    return Classifier(_class_counts(train, num_classes), _in_chunks("linear", fitted))


def few_shot(
    train: LabelledFeatures, num_classes: int, shots: int, *, seed: int, number: int
) -> Classifier:
    """Logistic regression on one draw of K training images of each class."""
    rows = draw(
        train.labels, train.indices, shots, num_classes=num_classes, seed=seed, number=number
    )
    fitted, strength = few_shot_classifier(train.values[rows], train.labels[rows])
    counts = np.full(num_classes, shots)
    return Classifier(counts, _in_chunks(few_shot_name(shots), fitted), {"C": strength})


def _class_counts(train: LabelledFeatures, num_classes: int) -> NDArray[np.int64]:
    """(C,) training images of each class; turned copies of one count once."""
    _, images = np.unique(train.indices, return_index=True)
    if train.labels.ndim == 2:
        return class_counts(train.labels[images])
    return np.bincount(train.labels[images], minlength=num_classes)


def _in_chunks(name: str, fitted: Any) -> Callable[[Matrix], Predictions]:
    def predict(values: Matrix) -> Predictions:
        starts = range(0, len(values), CHUNK)
        parts = [fitted.predict(values[start : start + CHUNK]) for start in starts]
        return {name: np.concatenate(parts)}

    return predict
