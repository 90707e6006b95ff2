"""How well a trained classifier tells classes apart, the rare ones too.

Shapes: n images; C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quarterturn.config import DataConfig
from quarterturn.data.crop_plans import CropPlan
from quarterturn.data.imageset import ImageSet
from quarterturn.features.extraction import extract
from quarterturn.methods.classifier import ClassifierNetwork
from quarterturn.metrics.classification import (
    FEW,
    MANY,
    classification_metrics,
    confusion_matrix,
    expected_calibration_error,
)
from quarterturn.metrics.label_sets import label_set_metrics

CropsOf = Callable[[Tensor], CropPlan]
"""(n,) numbers of images to their crops."""


class Logits(nn.Module):
    """A classifier's logits as features, to be probed: what it knows of the classes."""

    def __init__(self, network: ClassifierNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) to (B, C)."""
        return {"logits": self.network(images)}


@dataclass(frozen=True)
class Classified:
    """What a classifier says of the images that could be read.

    Attributes:
        probabilities: (n, C) float32.
        indices: (n,) numbers of the images.
        labels: (n,) true classes, (n, C) label sets, or None.
        of_one_crop: (n, C) float32 probabilities by the first of several crops, or None.
    """

    probabilities: NDArray[np.float32]
    indices: NDArray[np.int64]
    labels: NDArray[Any] | None
    of_one_crop: NDArray[np.float32] | None = None


def classify(
    network: ClassifierNetwork,
    images: ImageSet,
    crop: DataConfig,
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
    failed: dict[int, str] | None = None,
    random_crops: Sequence[CropsOf] = (),
) -> Classified:
    """Probabilities of every image, upright, by its centre crop or by random ones.

    Args:
        network: Backbone and classifier; put in eval mode meanwhile.
        images: The images.
        crop: Crop and normalisation settings.
        device: Where the network is.
        workers: Processes that decode files.
        failed: Filled with the images that cannot be decoded, which are left out.
        random_crops: Passes over random crops, whose logits are averaged, in place of the centre
            crop.

    Raises:
        DataError: Not one image could be decoded; or, where nobody asks for those that failed,
            too many of them.
    """
    options: dict[str, Any] = {"device": device, "workers": workers, "failed": failed}

    def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return network.probabilities(torch.from_numpy(logits)).numpy()

    if not random_crops:
        found = extract(images, crop, network, **options)
        return Classified(probabilities(found.values), found.indices, found.labels)
    passes = [extract(images, crop, network, **options, crops_of=draw) for draw in random_crops]
    mean = np.mean([of_pass.values for of_pass in passes], axis=0)
    first = passes[0]
    return Classified(probabilities(mean), first.indices, first.labels, probabilities(first.values))


@torch.no_grad()
def head_probabilities(
    network: ClassifierNetwork,
    features: NDArray[np.float32],
    device: torch.device | str = "cpu",
    rows_at_once: int = 256,
) -> NDArray[np.float32]:
    """(n, C) probabilities of the classes, from (n, D) features of the backbone's last layer.

    Args:
        network: Backbone and classifier, in eval mode.
        features: May be memory-mapped; a part is in memory at a time.
        device: Where the network is.
        rows_at_once: As in a pass over the images, so that the probabilities are those of one.
    """
    parts = [torch.empty(0, len(network.log_priors))]
    for first in range(0, len(features), rows_at_once):
        rows = torch.from_numpy(features[first : first + rows_at_once]).to(device)
        parts.append(network.probabilities(network.classifier(rows).float().cpu()))
    return torch.cat(parts).numpy()


def classifier_metrics(
    classified: Classified,
    class_names: list[str],
    train_counts: NDArray[np.int64],
    *,
    many: int = MANY,
    few: int = FEW,
) -> dict[str, Any]:
    """All figures of a classifier on labelled images.

    Args:
        classified: What it says of them.
        class_names: (C,) names.
        train_counts: (C,) training images of each class.
        many: Classes with more training images are ``many``.
        few: Classes with fewer are ``few``.

    Returns:
        Those of `quarterturn.metrics.classification.classification_metrics`,
        ``"calibration_error"`` (see `expected_calibration_error`, in 15 bins), and
        ``"confusion"``, row by true class. Where images have several labels each, those of
        `quarterturn.metrics.label_sets.label_set_metrics`, and where several crops were shown
        ``"one_crop"``, the mean average precision by the first.
    """
    labels, probabilities = classified.labels, classified.probabilities
    assert labels is not None
    if labels.ndim == 2:
        figures = label_set_metrics(probabilities, labels, class_names)
        if classified.of_one_crop is not None:
            of_one = label_set_metrics(classified.of_one_crop, labels, class_names)
            figures["one_crop"] = of_one["mean_ap"]
        return figures
    predictions = probabilities.argmax(axis=1)
    return {
        **classification_metrics(
            predictions, labels, class_names, train_counts, many=many, few=few
        ),
        "calibration_error": expected_calibration_error(
            probabilities.max(axis=1), predictions == labels
        ),
        "confusion": confusion_matrix(predictions, labels, len(class_names)).tolist(),
    }
