"""Linear SVMs of single classes, with a cost chosen on training folds (Goyal et al., ICCV 2019).

Shapes: n training images; D feature width.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from quarterturn.errors import DataError
from quarterturn.metrics.average_precision import average_precision
from quarterturn.presets.svm import SvmProtocol

LENGTH_MARGIN = 1e-5
"""Added to the length that rows are divided by."""
SINGLE_COST = 1.0
"""For one image with the class, of which none can be spared for a choice."""

Rows = NDArray[np.float64]


def unit_rows(values: NDArray[np.float32]) -> Rows:
    """(n, D) features, each row divided by its length, in float64."""
    rows = values.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True) + LENGTH_MARGIN
    return rows


@contextmanager
def expected_warnings() -> Iterator[None]:
    """Where SVMs are fitted: scikit-learn warns of what is part of the protocol.

    That the solver stopped at its bound, and that a class has fewer images than there are folds.
    Outside the threads that fit, since Python's filters are those of all threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        yield


def fitted_svm(
    rows: Rows, present: NDArray[np.bool_], cost: float, protocol: SvmProtocol, seed: int
) -> LinearSVC:
    """A linear SVM of a class against the rest.

    Args:
        rows: (n, D), by `unit_rows`.
        present: (n,) whether the image has the class; both must occur.
        cost: C.
        protocol: Its other settings.
        seed: Of the solver's order.
    """
    classifier = LinearSVC(
        C=cost,
        class_weight={1: protocol.positive_weight, 0: 1.0},
        dual=True,
        tol=1e-4,
        max_iter=protocol.max_iterations,
        random_state=seed,
    )
    return classifier.fit(rows, present.astype(np.int64))


def chosen_cost(
    rows: Rows, present: NDArray[np.bool_], name: str, protocol: SvmProtocol, seed: int
) -> float:
    """The cost whose SVMs have the best mean average precision on training folds.

    Of equals the least. With fewer images of the class than folds there are as many folds as
    images, and `SINGLE_COST` for one.

    Args:
        rows: (n, D), by `unit_rows`.
        present: (n,) whether the image has the class.
        name: Of the class.
        protocol: Its settings.
        seed: Of the solver's order.

    Raises:
        DataError: A fold leaves only images with the class, or only ones without it.
    """
    num_folds = min(protocol.folds, int(present.sum()))
    if num_folds < 2:
        return SINGLE_COST
    folds = [*StratifiedKFold(num_folds).split(rows, present)]
    for train, _ in folds:
        if present[train].all():
            raise DataError(
                f"all training images of a fold have the class {name}: of {len(present)} images "
                f"{int((~present).sum())} are without it, and {num_folds} folds need at least 2; "
                "give more images, or leave the class out"
            )
    precision = [
        np.mean(
            [
                average_precision(
                    fitted_svm(rows[train], present[train], cost, protocol, seed).decision_function(
                        rows[held]
                    ),
                    present[held],
                )
                for train, held in folds
            ]
        )
        for cost in protocol.costs
    ]
    return protocol.costs[int(np.argmax(precision))]


def scores_of(classifiers: Sequence[LinearSVC], rows: Rows) -> NDArray[np.float64]:
    """(m, D) rows to the (m, C) scores of one classifier per class."""
    return np.stack([classifier.decision_function(rows) for classifier in classifiers], axis=1)
