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

from quarterturn.config.validation import flag
from quarterturn.data.imageset import ImageSet
from quarterturn.errors import ConfigError, DataError
from quarterturn.features.extraction import extract
from quarterturn.methods.classifier import ClassifierNetwork
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.configuration import Config
from quarterturn.probing.few_shot import few_shot_classifier
from quarterturn.runs.classifier_results import Solution

logger = logging.getLogger(__name__)

FEW_IMAGES = 100
"""With fewer images of every class than this, ``--solver auto`` solves."""
EXPECTED: dict[str, Any] = {
    "trained": "none",
    "loss": "cross-entropy",
    "reweight": "none",
    "resample": "none",
    "rescale": "none",
    "classifier_init": "uniform",
    "images_per_epoch": None,
    "order": "shuffled",
    "protocol": "last-epoch",
}
"""Settings with which a training by steps has the same solution; any other asks for steps."""


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
    others = {name: settings[name] for name, value in EXPECTED.items() if settings[name] != value}
    if asked == "exact" and others:
        found, expected = (
            ", ".join(f"{flag(name)} {of[name]}" for name in others) for of in (others, EXPECTED)
        )
        raise ConfigError(
            f"--solver exact is logistic regression on frozen features: expected {expected}, found "
            f"{found}. Leave --solver out, or change the others"
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

    The features are standardised, and C is chosen among the images; see
    `quarterturn.probing.few_shot.few_shot_classifier`. Means and standard deviations become part of
    the linear layer, which is one as after a training.

    Args:
        network: Its classifier is changed.
        images: The n labelled images, seen upright by their centre crops.
        config: Crop, normalisation and machine.
        device: Where the network is.
        failed: Filled with the images that cannot be decoded, which are left out.

    Raises:
        DataError: Fewer than two classes have images that can be read.
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
    if len(classes := np.unique(labels)) < 2:
        raise DataError(
            f"the training images that can be read are all of one class, "
            f"{images.class_names[classes[0]]}; expected two classes or more"
        )
    pipeline, strength = few_shot_classifier(found.values, labels)
    scaler, regression = pipeline[0], pipeline[-1]
    rows, bias = regression.coef_, regression.intercept_
    if len(classes) == 2:  # scikit-learn keeps the difference of the two logits
        rows, bias = np.concatenate([-rows, rows]) / 2, np.concatenate([-bias, bias]) / 2
    weights = np.zeros((len(images.class_names), found.values.shape[1]))
    biases = np.zeros(len(images.class_names))  # a class without images is never predicted
    weights[classes] = rows / scaler.scale_
    biases[classes] = bias - weights[classes] @ scaler.mean_
    with torch.no_grad():
        network.classifier.weight.copy_(torch.from_numpy(weights))
        network.classifier.bias.copy_(torch.from_numpy(biases))
    return Solution(strength, len(labels))
