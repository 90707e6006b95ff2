"""A linear classifier on frozen features, by scikit-learn's logistic regression."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

MAX_ITERATIONS = 1000


def linear_classifier(
    train: NDArray[np.float32], labels: NDArray[np.int64], max_iterations: int = MAX_ITERATIONS
) -> Pipeline:
    """Multinomial logistic regression on standardised features, with L2 penalty of C = 1.

    The strength is fixed, so that no split has to choose it.

    Args:
        train: (n, D) features.
        labels: (n,) classes, of which at least two occur.
        max_iterations: Bound on the steps of L-BFGS.
    """
    classifier: Any = make_pipeline(
        StandardScaler(), LogisticRegression(C=1.0, max_iter=max_iterations)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the bound is part of the protocol
        return classifier.fit(train, labels)
