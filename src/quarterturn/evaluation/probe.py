"""Probes: how well simple classifiers read the labels off frozen features.

They train on upright images only. Test images are taken upright, and turned: by quarter turns
uniform in 0..3 that a seed fixes, one view an image.

Shapes: n images; D feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.data.labelled import LabelledSplit
from quarterturn.evaluation import knn, linear
from quarterturn.evaluation.features import Features, concatenate, extract_parts, random_turns
from quarterturn.evaluation.kept import kept_features
from quarterturn.evaluation.knn import knn_predict
from quarterturn.evaluation.linear import linear_classifier
from quarterturn.evaluation.representation import NetworkFeatures
from quarterturn.evaluation.results import protocol_of
from quarterturn.evaluation.store import FeatureStore
from quarterturn.metrics import FEW, MANY, classification_metrics

Parts = dict[str, Features]
"""Features by the names of their parts."""

Representation = Callable[[Tensor], dict[str, Tensor]]
"""(B, 3, S, S) to named (B, d), such as `quarterturn.evaluation.representation.NetworkFeatures`."""


@dataclass(frozen=True)
class Classifiers:
    """The classifiers of one part of the features.

    Attributes:
        train: What they learn from, with labels.
        kinds: ``knn``, ``linear``, or both.
        ks: Numbers of neighbours.
        num_classes: Number of classes.
    """

    train: Features
    kinds: tuple[str, ...]
    ks: tuple[int, ...]
    num_classes: int

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) classes of the training images."""
        assert self.train.labels is not None
        return self.train.labels

    @cached_property
    def linear(self) -> Any:
        """The linear classifier, fitted when it is first asked for."""
        return linear_classifier(self.train.values, self.labels)

    def class_counts(self) -> NDArray[np.int64]:
        """(C,) training images of each class; turned copies of one count once."""
        _, images = np.unique(self.train.indices, return_index=True)
        return np.bincount(self.labels[images], minlength=self.num_classes)

    def predict(self, values: NDArray[np.float32]) -> dict[str, NDArray[np.int64]]:
        """(m, d) features to each classifier's (m,) predictions."""
        found: dict[str, NDArray[np.int64]] = {}
        if "knn" in self.kinds:
            by_k = knn_predict(
                self.train.values, self.labels, values, self.ks, num_classes=self.num_classes
            )
            found |= {f"knn-{k}": predicted for k, predicted in by_k.items()}
        if "linear" in self.kinds:
            found["linear"] = self.linear.predict(values)
        return found


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
        yield from self.compare(representation, self.fit(known), upright)

    def fit(self, known: Parts) -> dict[str, Classifiers]:
        """The classifiers of each part."""
        num_classes = len(self.train.class_names)
        return {
            part: Classifiers(features, self.kinds, self.ks, num_classes)
            for part, features in known.items()
        }

    def compare(
        self, representation: Representation, fitted: dict[str, Classifiers], upright: Parts
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """`run`, where the classifiers and the features of the upright test images are at hand."""
        turns = random_turns(len(self.test), self.seed)
        turned = self.extract(self.test, representation, turns)
        class_names = self.train.class_names
        for part, classifiers in fitted.items():
            counts = classifiers.class_counts()
            for view, test in {"upright": upright[part], "turned": turned[part]}.items():
                assert test.labels is not None
                for name, predicted in classifiers.predict(test.values).items():
                    yield (
                        f"{part}/{name}/{view}",
                        classification_metrics(
                            predicted, test.labels, class_names, counts,
                            many=self.many, few=self.few,
                        ),
                    )  # fmt: skip

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
        options: dict[str, Any] = {
            "turns": turns, "device": self.device, "workers": self.workers,
        }  # fmt: skip
        if self.store is not None and isinstance(representation, NetworkFeatures):
            return kept_features(images, self.crop, representation, self.store, **options)
        return extract_parts(images, self.crop, representation, **options)


def probe_over_seeds(
    representation: Representation,
    split: LabelledSplit,
    crop: DataConfig,
    seeds: Sequence[int],
    **options: Any,
) -> dict[str, list[dict[str, Any]]]:
    """Probe a representation for several seeds, doing once what does not depend on them.

    Args:
        representation: Images to named features.
        split: Labelled images; the seeds part them where they have no test part.
        crop: Crop and normalisation settings.
        seeds: Of turns and held-out parts.
        **options: As for `Probe`.

    Returns:
        The names and metrics that `Probe.run` yields, the metrics as a list over the seeds.
    """
    whole = Probe(split.train, split.tests, crop, **options)
    all_known = whole.extract(split.train, representation)
    all_tests = all_known if split.test is None else whole.extract(split.test, representation)
    measured: dict[str, list[dict[str, Any]]] = {}
    fitted: dict[str, Classifiers] | None = None
    for seed in seeds:
        train, held = split.parts(seed)
        if fitted is None or split.test is None:
            fitted = whole.fit({part: found.of(train) for part, found in all_known.items()})
        one = replace(
            whole, train=split.train.subset(train), test=split.tests.subset(held), seed=seed
        )
        upright = {part: found.of(held) for part, found in all_tests.items()}
        for name, value in one.compare(representation, fitted, upright):
            measured.setdefault(name, []).append(value)
    return measured


def frozen_features_protocol(
    split: LabelledSplit, seeds: Sequence[int], *, grid: int, many: int = MANY, few: int = FEW
) -> dict[str, Any]:
    """The protocol of kNN and linear classifiers on frozen features.

    Args:
        split: Images and labels.
        seeds: Of turns and held-out parts.
        grid: Squares a side that maps are averaged over.
        many: Classes with more training images are ``many``.
        few: Classes with fewer are ``few``.
    """
    return protocol_of(
        "frozen-features", split, seeds,
        grid=grid, many=many, few=few,
        knn_temperature=knn.TEMPERATURE, linear_max_iterations=linear.MAX_ITERATIONS,
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
