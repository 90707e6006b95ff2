"""How unsure a classifier is of images, and between which classes.

Shapes: n images; C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from quarterturn.classifying.evaluation import classify
from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.methods.classifier import ClassifierNetwork
from quarterturn.pages.tables import percent


@dataclass(frozen=True)
class Uncertainty:
    """What a classifier says of images.

    Attributes:
        probabilities: (n, C); NaN for an image that could not be read.
        class_names: (C,) names.
        several_labels: Whether each class is a question of its own.
    """

    probabilities: NDArray[np.float32]
    class_names: Sequence[str]
    several_labels: bool = False

    @property
    def margins(self) -> NDArray[np.float32]:
        """(n,) 0 where it is not sure at all, 1 where it is certain.

        The probability of the most probable class less that of the next; where images have several
        labels each, of the class that it is least sure of, present less absent.
        """
        if self.several_labels:
            return np.abs(2 * self.probabilities - 1).min(axis=1)
        two = np.sort(self.probabilities, axis=1)[:, -2:]
        return two[:, 1] - two[:, 0]

    def words(self, place: int) -> str:
        """The classes that it is unsure of."""
        row = self.probabilities[place]
        if self.several_labels:
            classes = np.abs(2 * row - 1).argsort(kind="stable")[:1]
        else:
            classes = np.argsort(-row, kind="stable")[:2]
        named = [f"{self.class_names[c]} {percent(float(row[c]))}" for c in classes]
        return f"uncertain: {', '.join(named)}"


def uncertainty_of(
    network: ClassifierNetwork,
    images: ImageSet,
    crop: DataConfig,
    class_names: Sequence[str],
    *,
    device: torch.device | str,
    workers: int = 0,
) -> Uncertainty:
    """Ask a classifier about images, upright, by their centre crops.

    Args:
        network: The classifier, on the device.
        images: The n images.
        crop: How it sees them.
        class_names: (C,) names.
        device: Where to compute.
        workers: Processes that decode files.
    """
    found = classify(network, images, crop, device=device, workers=workers, failed={})
    probabilities = np.full((len(images), len(class_names)), np.nan, np.float32)
    probabilities[found.indices] = found.probabilities
    return Uncertainty(probabilities, class_names, network.several_labels)
