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
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.evaluation.features import Features, concatenate, extract_parts, random_turns
from quarterturn.evaluation.knn import knn_predict
from quarterturn.evaluation.linear import linear_classifier
from quarterturn.evaluation.representation import NetworkFeatures
from quarterturn.evaluation.store import FeatureStore
from quarterturn.metrics import FEW, MANY, classification_metrics

Parts = dict[str, Features]


Representation = Callable[[Tensor], dict[str, Tensor]]
"""(B, 3, S, S) to named (B, d), such as `quarterturn.evaluation.representation.NetworkFeatures`."""


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
        many: Classes with more training images than this are ``many``.
        few: Classes with fewer training images than this are ``few``; the others ``medium``.
        turn_training: Learn from every training image in its four turns instead of upright alone:
            augmentation that knows the symmetry, for baselines.
        device: Where the model is.
        workers: Processes that decode files.
        store: Where features of networks are kept on disk; in memory without.
    """

    train: ImageSet
    test: ImageSet
    crop: DataConfig
    kinds: tuple[str, ...] = ("knn", "linear")
    ks: tuple[int, ...] = (20, 200)
    seed: int = 0
    many: int = MANY
    few: int = FEW
    turn_training: bool = False
    device: torch.device | str = "cpu"
    workers: int = 0
    store: FeatureStore | None = None

    def run(self, representation: Representation) -> Iterator[tuple[str, dict[str, Any]]]:
        """Probe a representation.

        Yields:
            ``"<part>/<classifier>/<view>"``, such as ``"invariant/knn-20/turned"``, and the
            metrics of `quarterturn.metrics.classification_metrics`.
        """
        known = self._training_features(representation)
        upright = self.extract(self.test, representation)
        yield from self.compare(representation, known, upright)

    def compare(
        self, representation: Representation, known: Parts, upright: Parts
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """`run`, where the features of the training and of the upright test images are at hand."""
        turns = random_turns(len(self.test), self.seed)
        turned = self.extract(self.test, representation, turns)
        class_names = self.train.class_names
        for part, train in known.items():
            tests = {"upright": upright[part], "turned": turned[part]}
            assert train.labels is not None
            _, images = np.unique(train.indices, return_index=True)  # turned copies count once
            counts = np.bincount(train.labels[images], minlength=len(class_names))
            for view, name, predicted in self._classify(train, tests, len(class_names)):
                labels = tests[view].labels
                assert labels is not None
                yield (
                    f"{part}/{name}/{view}",
                    classification_metrics(
                        predicted, labels, class_names, counts, many=self.many, few=self.few
                    ),
                )

    def _classify(
        self,
        train: Features,
        tests: dict[str, Features],
        num_classes: int,
    ) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
        assert train.labels is not None
        if "knn" in self.kinds:
            for view, test in tests.items():
                found = knn_predict(
                    train.values, train.labels, test.values, self.ks, num_classes=num_classes
                )
                for k, predicted in found.items():
                    yield view, f"knn-{k}", predicted
        if "linear" in self.kinds:
            classifier = linear_classifier(train.values, train.labels)
            for view, test in tests.items():
                yield view, "linear", classifier.predict(test.values)

    def _training_features(self, representation: Representation) -> Parts:
        if not self.turn_training:
            return self.extract(self.train, representation)
        copies = [
            self.extract(self.train, representation, torch.full((len(self.train),), k))
            for k in range(4)
        ]
        return {part: concatenate([copy[part] for copy in copies]) for part in copies[0]}

    def extract(
        self, images: ImageSet, representation: Representation, turns: Tensor | None = None
    ) -> Parts:
        """The features of some images, from the store where it has them."""
        options: dict[str, Any] = {}
        if self.store is not None and isinstance(representation, NetworkFeatures):
            about = {
                "weights": representation.fingerprint,
                "layers": representation.layers,
                "grid": representation.grid,
                "images": images.fingerprint(),
                # Files of one name and size in another folder are other images.
                "folder": str(images.root.resolve()) if isinstance(images, FileImages) else None,
                "image_size": self.crop.image_size,
                "eval_crop": self.crop.eval_crop,
                "mean": self.crop.mean,
                "std": self.crop.std,
            }
            options = {"store": self.store, "key": FeatureStore.key(about, turns)}
        return extract_parts(
            images, self.crop, representation,
            turns=turns, device=self.device, workers=self.workers, **options,
        )  # fmt: skip


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
    upright = extract_parts(images, crop, representation, **options)
    turned = extract_parts(images, crop, representation, turns=turns, **options)
    found = {}
    for part, features in upright.items():
        gallery = F.normalize(torch.from_numpy(features.values), dim=1)
        queries = F.normalize(torch.from_numpy(turned[part].values), dim=1)
        nearest = torch.cat([(q @ gallery.T).argmax(dim=1) for q in queries.split(1024)])
        found[part] = float((nearest == torch.arange(len(nearest))).float().mean())
    return found
