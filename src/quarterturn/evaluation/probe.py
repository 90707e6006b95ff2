"""Probes: how well simple classifiers read the labels off frozen features.

They train on upright images only. Test images are taken upright, and turned: by quarter turns
uniform in 0..3 that a seed fixes, one view an image.

Shapes: n images; D feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.evaluation.features import Features, extract, random_turns
from quarterturn.evaluation.knn import knn_predict
from quarterturn.evaluation.linear import linear_classifier
from quarterturn.methods.base import Network
from quarterturn.metrics import classification_metrics

VIEWS = ("upright", "turned")


@dataclass(frozen=True)
class Representation:
    """Something that turns images into features with named parts.

    Attributes:
        model: (B, 3, S, S) to (B, D).
        parts: (n, D) to named (n, d).
    """

    model: Callable[[Tensor], Tensor]
    parts: Callable[[Tensor], dict[str, Tensor]]

    @classmethod
    def of_network(cls, network: Network) -> Representation:
        """A network's backbone, its features by the parts that the network names."""
        device = next(network.parameters()).device

        def parts(features: Tensor) -> dict[str, Tensor]:
            found = network.parts(features.to(device))
            return {name: part.cpu() for name, part in found.items()}

        return cls(network.backbone, parts)

    @classmethod
    def of_pixels(cls) -> Representation:
        """The pixels of the centre crop, which any method has to beat."""
        return cls(lambda images: images.flatten(1), lambda values: {"pixels": values})


@dataclass(frozen=True)
class Probe:
    """kNN and linear classifiers on frozen features.

    Attributes:
        train: Labelled images to learn from.
        test: Labelled images to predict.
        crop: Crop and normalisation settings.
        kinds: ``knn``, ``linear``, or both.
        ks: Numbers of neighbours.
        seed: Fixes the test images' turns.
        turn_training: Learn from every training image in its four turns instead of upright alone:
            augmentation that knows the symmetry, for baselines.
        device: Where the model is.
        workers: Processes that decode files.
    """

    train: ImageSet
    test: ImageSet
    crop: DataConfig
    kinds: tuple[str, ...] = ("knn", "linear")
    ks: tuple[int, ...] = (20, 200)
    seed: int = 0
    turn_training: bool = False
    device: torch.device | str = "cpu"
    workers: int = 0

    def run(self, representation: Representation) -> Iterator[tuple[str, dict[str, Any]]]:
        """Probe a representation.

        Yields:
            ``"<part>/<classifier>/<view>"``, such as ``"invariant/knn-20/turned"``, and the
            metrics of `quarterturn.metrics.classification_metrics`.
        """
        known = self._training_features(representation)
        upright = self._extract(self.test, representation)
        yield from self.compare(representation, known, upright)

    def compare(
        self, representation: Representation, known: Features, upright: Features
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """`run`, where the features of the training and of the upright test images are at hand."""
        turns = random_turns(len(self.test), self.seed)
        tests = {"upright": upright, "turned": self._extract(self.test, representation, turns)}
        assert known.labels is not None
        class_names = self.train.class_names
        parts = split_parts(representation, known)
        views = {view: split_parts(representation, tests[view]) for view in VIEWS}
        for part, values in parts.items():
            for view, name, predicted in self._classify(
                values, known.labels, {view: views[view][part] for view in VIEWS}, len(class_names)
            ):
                labels = tests[view].labels
                assert labels is not None
                yield (
                    f"{part}/{name}/{view}",
                    classification_metrics(predicted, labels, class_names),
                )

    def _classify(
        self,
        train: NDArray[np.float32],
        labels: NDArray[np.int64],
        tests: dict[str, NDArray[np.float32]],
        num_classes: int,
    ) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
        if "knn" in self.kinds:
            for view, test in tests.items():
                found = knn_predict(train, labels, test, self.ks, num_classes=num_classes)
                for k, predicted in found.items():
                    yield view, f"knn-{k}", predicted
        if "linear" in self.kinds:
            classifier = linear_classifier(train, labels)
            for view, test in tests.items():
                yield view, "linear", classifier.predict(test)

    def _training_features(self, representation: Representation) -> Features:
        if not self.turn_training:
            return self._extract(self.train, representation)
        copies = [
            self._extract(self.train, representation, torch.full((len(self.train),), k))
            for k in range(4)
        ]
        labels = [c.labels for c in copies if c.labels is not None]
        return Features(
            np.concatenate([c.values for c in copies]),
            np.concatenate([c.indices for c in copies]),
            np.concatenate(labels),
        )

    def _extract(
        self, images: ImageSet, representation: Representation, turns: Tensor | None = None
    ) -> Features:
        return extract(
            images, self.crop, representation.model,
            turns=turns, device=self.device, workers=self.workers,
        )  # fmt: skip


@torch.no_grad()
def split_parts(
    representation: Representation, features: Features
) -> dict[str, NDArray[np.float32]]:
    """The named parts of extracted features, as arrays."""
    parts = representation.parts(torch.from_numpy(features.values))
    return {name: part.numpy() for name, part in parts.items()}


def finds_itself(
    representation: Representation,
    images: ImageSet,
    crop: DataConfig,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> dict[str, float]:
    """How often a turned image is nearest to its own upright view, among all upright views.

    A measure of invariance and of telling images apart at once, that needs no labels.

    Returns:
        Part to fraction of the images.
    """
    turns = random_turns(len(images), seed)
    options: dict[str, Any] = {"device": device, "workers": workers}
    upright = extract(images, crop, representation.model, **options)
    turned = extract(images, crop, representation.model, turns=turns, **options)
    found = {}
    turned_parts = split_parts(representation, turned)
    for part, values in split_parts(representation, upright).items():
        gallery = F.normalize(torch.from_numpy(values), dim=1)
        queries = F.normalize(torch.from_numpy(turned_parts[part]), dim=1)
        nearest = torch.cat([(q @ gallery.T).argmax(dim=1) for q in queries.split(1024)])
        found[part] = float((nearest == torch.arange(len(nearest))).float().mean())
    return found
