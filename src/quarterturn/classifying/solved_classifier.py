"""A classifier on a frozen backbone, solved exactly: logistic regression on its features.

With few labels an epoch is a step or two, and a training by steps ends near where it began. On
frozen features the loss is convex, so that the best classifier can be computed instead.

Shapes: n training images; C classes; D feature width.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import normalize

from quarterturn.config.validation import flag
from quarterturn.data.imageset import ImageSet
from quarterturn.data.label_sets import require_both
from quarterturn.errors import ConfigError, DataError
from quarterturn.features.extraction import extract
from quarterturn.methods.classifier import ClassifierNetwork
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.configuration import Config
from quarterturn.models.heads import CosineHead
from quarterturn.probing.few_shot import few_shot_classifier
from quarterturn.probing.linear import STRENGTH as SEVERAL_STRENGTH
from quarterturn.probing.linear import linear_classifiers
from quarterturn.runs.classifier_results import Solution

logger = logging.getLogger(__name__)

FEW_IMAGES = 100
"""With fewer images of every class than this, ``--solver auto`` solves."""
EXPECTED: dict[str, Any] = {
    "trained": "none",
    "reweight": "none",
    "resample": "none",
    "rescale": "none",
    "images_per_epoch": None,
    "order": "shuffled",
    "protocol": "last-epoch",
}
"""Settings with which a training by steps has the same solution; any other asks for steps."""
LOSSES = ("cross-entropy", "sigmoid")
"""That logistic regression minimises."""
BEGINNINGS = ("uniform", "solved")
"""How a classifier may begin that is solved in the end."""


def with_solver(
    config: Config, class_counts: Iterable[NDArray[np.int64]], *, has_start: bool
) -> Config:
    """The configuration of a training, with no epochs where its classifier is solved instead.

    Args:
        config: Settings of the training, with the loss that its images take.
        class_counts: (C,) training images of each class, of each seed.
        has_start: Whether it begins with weights.

    Raises:
        ConfigError: ``--solver exact`` with a setting that it cannot follow.
    """
    asked, settings = config.method_as(ClassifierOptions).solver, config.settings()
    expected = EXPECTED | {
        name: settings[name] if settings[name] in alike else alike[0]
        for name, alike in {"loss": LOSSES, "classifier_init": BEGINNINGS}.items()
    }
    others = {name: settings[name] for name, value in expected.items() if settings[name] != value}
    if asked == "exact" and others:
        given, needed = (
            ", ".join(f"{flag(name)} {of[name]}" for name in others) for of in (others, expected)
        )
        raise ConfigError(
            f"--solver exact is logistic regression on frozen features: expected {needed}, found "
            f"{given}. Leave --solver out, or change the others"
        )
    are_few = all(counts.max() < FEW_IMAGES for counts in class_counts)
    fits = has_start and are_few and not others and config.run.epochs > 0
    if asked == "steps" or not (asked == "exact" or fits):
        return config
    return config.with_settings(solver="exact", epochs=0)


def is_solved(config: Config) -> bool:
    """Whether the classifier of a run is solved rather than trained."""
    return config.method_as(ClassifierOptions).solver == "exact"


def solve(
    network: ClassifierNetwork,
    images: ImageSet,
    config: Config,
    *,
    device: torch.device | str,
    failed: dict[int, str],
) -> Solution:
    """Set a network's classifier to logistic regression on its frozen features.

    A cosine head, which has no such solution, is set to the mean direction of the features of each
    class (weight imprinting: Qi, Brown, Lowe, CVPR 2018).

    The features are standardised, and C is chosen among the images; see
    `quarterturn.probing.few_shot.few_shot_classifier`. Where images have several labels each there
    is one regression for each class, as in `quarterturn.probing.linear.linear_classifiers`. Means
    and standard deviations become part of the linear layer, which is one as after a training.

    Args:
        network: Its classifier is changed.
        images: The n labelled images, seen upright by their centre crops.
        config: Crop, normalisation and machine.
        device: Where the network is.
        failed: Filled with the images that cannot be decoded, which are left out.

    Raises:
        DataError: The images that can be read are all of one class; or of several labels each, all
            or none of them have some class.
    """
    found = extract(
        images,
        config.data,
        network.backbone,
        device=device,
        workers=config.machine.num_workers,
        failed=failed,
    )
    labels = found.labels
    assert labels is not None
    if labels.ndim == 2:
        require_both(labels, images.class_names)
        classifiers = linear_classifiers(found.values, labels).classifiers
        rows, biases = zip(*map(_linear_map, classifiers), strict=True)
        _set(network, np.concatenate(rows), np.concatenate(biases))
        return Solution(SEVERAL_STRENGTH, len(labels), is_chosen=False)
    if len(classes := np.unique(labels)) < 2:
        raise DataError(
            f"the training images that can be read are all of one class, "
            f"{images.class_names[classes[0]]}; expected two classes or more"
        )
    if isinstance(network.classifier, CosineHead):
        _set(network, _mean_directions(found.values, labels, len(images.class_names)))
        return Solution(0.0, len(labels), is_chosen=False)
    pipeline, strength = few_shot_classifier(found.values, labels)
    row, bias = _linear_map(pipeline)
    if len(classes) == 2:  # scikit-learn keeps the difference of the two logits
        row, bias = np.concatenate([-row, row]) / 2, np.concatenate([-bias, bias]) / 2
    weights = np.zeros((len(images.class_names), row.shape[1]))
    all_biases = np.zeros(len(images.class_names))  # a class without images is never predicted
    weights[classes], all_biases[classes] = row, bias
    _set(network, weights, all_biases)
    return Solution(strength, len(labels))


def _linear_map(pipeline: Pipeline) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (C, D) and biases (C,) of a scaler and a regression after it; one of two classes."""
    scaler, regression = pipeline[0], pipeline[-1]
    weights = regression.coef_ / scaler.scale_
    return weights, regression.intercept_ - weights @ scaler.mean_


def _mean_directions(
    features: NDArray[np.float32], labels: NDArray[np.int64], num_classes: int
) -> NDArray[np.float64]:
    """(C, D), each of length 1; a class without images has the direction of all."""
    directions = normalize(features)
    found = [
        directions[labels == c if (labels == c).any() else slice(None)].mean(axis=0, dtype=float)
        for c in range(num_classes)
    ]
    return normalize(np.stack(found))


@torch.no_grad()
def _set(
    network: ClassifierNetwork,
    weights: NDArray[np.float64],
    biases: NDArray[np.float64] | None = None,
) -> None:
    network.classifier.weight.copy_(torch.from_numpy(weights))
    if biases is not None:
        network.classifier.bias.copy_(torch.from_numpy(biases))
