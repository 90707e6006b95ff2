"""A linear classifier on frozen features, by scikit-learn's logistic regression."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

MAX_ITERATIONS = 1000
STRENGTH = 1.0
"""C, the inverse of the penalty's strength: fixed, so that no split has to choose it."""


def linear_classifier(
    train: NDArray[np.float32], labels: NDArray[np.int64], max_iterations: int = MAX_ITERATIONS
) -> Pipeline:
    """Multinomial logistic regression on standardised features, with L2 penalty of `STRENGTH`.

    Args:
        train: (n, D) features.
        labels: (n,) classes, of which at least two occur.
        max_iterations: Bound on the steps of L-BFGS.
    """
    classifier: Any = make_pipeline(
        StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=max_iterations)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the bound is part of the protocol
        return classifier.fit(train, labels)


@dataclass(frozen=True)
class ClassScores:
    """One classifier per class, each of the class against the rest.

    Attributes:
        classifiers: C of them.
    """

    classifiers: tuple[Any, ...]

    def predict(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """(m, D) features to (m, C) scores, the higher the more probably present."""
        scores = [classifier.decision_function(values) for classifier in self.classifiers]
        return np.stack(scores, axis=1)


def linear_classifiers(
    train: NDArray[np.float32], label_sets: NDArray[np.int8], max_iterations: int = MAX_ITERATIONS
) -> ClassScores:
    """`linear_classifier` of each class against the rest, for images with several labels each.

    Args:
        train: (n, D) features.
        label_sets: (n, C): 1 present, 0 absent, -1 ignored; both of the first two in each column.
        max_iterations: Bound on the steps of L-BFGS.
    """
    classifiers = []
    for column in label_sets.T:
        counted = column >= 0
        classifiers.append(
            linear_classifier(train[counted], column[counted].astype(np.int64), max_iterations)
        )
    return ClassScores(tuple(classifiers))
