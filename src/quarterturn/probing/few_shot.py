"""Few-shot classification: what K labelled images of each class are enough for.

K images of each class are drawn without replacement, several times, and logistic regression learns
from their frozen features: the low-shot curves of Goyal et al. (ICCV 2019). Here a draw is an order
of each class's images, of which every K takes the first K: the labels of a larger K hold those of a
smaller one, as when somebody labels more images.

Shapes: n training images; m labelled ones, K of each of C classes; D feature width.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from quarterturn.data.labelled import LabelledData
from quarterturn.errors import ConfigError, DataError
from quarterturn.metrics.classification import FEW, MANY
from quarterturn.probing.linear import MAX_ITERATIONS
from quarterturn.randomness import hash64
from quarterturn.runs.protocols import protocol_of

SHOTS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Values of K, where every class has K images."""
DRAWS = 5
"""For each seed."""
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""C to choose from, the inverse of the penalty's strength."""
SINGLE_STRENGTH = 1.0
"""C for one image of each class, of which none can be spared for a choice."""
FOLDS = 5
ONE_FOLD_FROM = 20
"""From this K on, one fifth of each class is enough to choose C by; below, each fifth in turn."""


def few_shot_protocol(
    split: LabelledData,
    seeds: Sequence[int],
    *,
    draws: int = DRAWS,
    grid: int,
    many: int = MANY,
    few: int = FEW,
) -> dict[str, Any]:
    """The protocol of few-shot classifiers; which K were asked for is not among it.

    Args:
        split: Images and labels.
        seeds: Of turns, held-out parts and draws.
        draws: Draws for each seed.
        grid: Side of the grid that maps are averaged over.
        many: Classes with more images than this among the K are ``many``, so all or none.
        few: Classes with fewer are ``few``.
    """
    return protocol_of(
        "few-shot",
        split,
        seeds,
        draws=draws,
        grid=grid,
        many=many,
        few=few,
        strengths=list(STRENGTHS),
        single_strength=SINGLE_STRENGTH,
        folds=FOLDS,
        one_fold_from=ONE_FOLD_FROM,
        max_iterations=MAX_ITERATIONS,
    )


def usable_shots(
    split: LabelledData, seeds: Sequence[int], shots: Sequence[int]
) -> tuple[tuple[int, ...], str]:
    """Those K for which every class has K training images, whichever the seed.

    With fewer images of some classes than of others, figures of one K would not compare.

    Args:
        split: Images and labels.
        seeds: Of held-out parts.
        shots: The K that are asked for.

    Returns:
        The K, ascending, and words on those that are left out; empty where none are.

    Raises:
        ConfigError: No K that every class has.
    """
    labels, names = split.train.labels, split.train.class_names
    assert labels is not None
    counts = np.min(
        [np.bincount(labels[split.parts(seed)[0]], minlength=len(names)) for seed in seeds], axis=0
    )
    smallest = int(counts.argmin())
    usable = tuple(sorted({k for k in shots if k <= counts[smallest]}))
    beyond = ", ".join(str(k) for k in sorted(set(shots) - set(usable)))
    why = f"the class {names[smallest]!r} has {counts[smallest]:,} training images"
    if not usable:
        raise ConfigError(
            f"--shots {beyond}: {why}; expected at most as many as each class has. Give fewer "
            "--shots, or more of --limit"
        )
    return usable, beyond and f"K = {beyond}: {why}"


def draw(
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    shots: int,
    *,
    num_classes: int,
    seed: int,
    number: int,
) -> NDArray[np.int64]:
    """Draw K images of each class without replacement.

    Args:
        labels: (n,) classes.
        indices: (n,) numbers of the images: a draw depends on them, not on their order here.
        shots: K.
        num_classes: C.
        seed: The probe's seed.
        number: Which of the seed's draws.

    Returns:
        (C * K,) rows, one of each class after the other, so that the first C * k of them are the
        draw of any smaller k.

    Raises:
        DataError: A class has fewer than K images that could be read.
    """
    counts = np.bincount(labels, minlength=num_classes)
    if counts.min() < shots:
        raise DataError(
            f"only {counts.min():,} training images of a class could be read, and --shots asks for "
            f"{shots}; give fewer, or repair the files"
        )
    order = hash64(seed, "few-shot draw", number, torch.from_numpy(indices)).argsort().numpy()
    by_class = order[labels[order].argsort(kind="stable")]
    starts = counts.cumsum() - counts
    return by_class[starts + np.arange(shots)[:, None]].ravel()


def few_shot_classifier(
    train: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[Pipeline, float]:
    """Multinomial logistic regression on standardised features, C chosen among the labelled images.

    C is the one with the best accuracy on images held out of the m (the strongest penalty of
    equals): each fifth of every class in turn, or as many parts as the largest class has images; of
    many images of each class only the first fifth. The classifier then learns from all m. One image
    of each class cannot be parted, and C stays 1.

    Args:
        train: (m, D) features.
        labels: (m,) classes, of which at least two occur.

    Returns:
        The classifier, and its C.
    """
    scaler = StandardScaler().fit(train)
    # A penalised classifier is a sum of its examples, so with m < D all happens in the m dimensions
    # that they span. In a basis of these it is the same classifier, fitted in less time.
    basis, coordinates = np.linalg.qr(scaler.transform(train).T)
    reduced = np.ascontiguousarray(coordinates.T)
    regression: Any = LogisticRegression(C=SINGLE_STRENGTH, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the bound is part of the protocol
        # One image of each class looks to scikit-learn as if the classes were numbers to fit.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        # A class of fewer images than folds is held out in some of them.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        if folds := _folds(reduced, labels):
            search: Any = GridSearchCV(regression, {"C": STRENGTHS}, cv=folds)
            regression = search.fit(reduced, labels).best_estimator_
        else:
            regression.fit(reduced, labels)
    regression.coef_ = regression.coef_ @ basis.T
    regression.n_features_in_ = len(basis)
    return make_pipeline(scaler, regression), float(regression.C)


def _folds(
    train: NDArray[np.float32], labels: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to learn from and rows held out, by which C is chosen; none where none can be spared."""
    counts = np.unique(labels, return_counts=True)[1]
    if counts.max() == 1:
        return []
    folds = [*StratifiedKFold(min(int(counts.max()), FOLDS)).split(train, labels)]
    if counts.min() >= ONE_FOLD_FROM:
        folds = folds[:1]
    return [fold for fold in folds if all(len(np.unique(labels[rows])) > 1 for rows in fold)]
