"""Probes: how well simple classifiers read the labels off frozen features.

They learn from upright images only. Test images are taken upright, and turned: by quarter turns
uniform in 0..3 that a seed fixes, one view an image.

Shapes: n images; D feature width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.data.labelled import LabelledData
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.extraction import (
    Features,
    LabelledFeatures,
    concatenate,
    extract_parts,
    random_turns,
)
from quarterturn.features.nearest_neighbors import find_nearest
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.metrics.classification import FEW, MANY, classification_metrics
from quarterturn.metrics.label_sets import label_set_metrics
from quarterturn.probing.classifiers import Classifier, few_shot, linear, nearest_neighbours
from quarterturn.probing.few_shot import DRAWS
from quarterturn.probing.knn import TEMPERATURE
from quarterturn.probing.linear import MAX_ITERATIONS
from quarterturn.progress import skip, stage
from quarterturn.runs.protocols import protocol_of
from quarterturn.runs.records import ScoreName

Parts = dict[str, Features]
LabelledParts = dict[str, LabelledFeatures]
"""Features by the names of their parts."""

Representation = Callable[[Tensor], dict[str, Tensor]]
"""(B, 3, S, S) to named (B, d), such as `quarterturn.features.network_features.NetworkFeatures`."""


@dataclass(frozen=True)
class Probe:
    """Simple classifiers on frozen features.

    Attributes:
        train: Labelled images to learn from.
        test: Labelled images to predict.
        crop: Crop and normalisation settings.
        kinds: Of ``knn``, ``linear`` and ``fewshot``.
        ks: Numbers of neighbours.
        shots: Numbers of labelled images of each class, for few-shot classifiers; see
            `quarterturn.probing.few_shot`.
        draws: How often they are drawn.
        seed: Fixes the test images' turns, and the draws.
        many: Classes with more training images than this are ``many``.
        few: Classes with fewer training images than this are ``few``; the others ``medium``.
        turn_training: Learn from every training image in its four turns instead of only upright:
            augmentation that knows the symmetry, for baselines.
        device: Where the model is.
        workers: Processes that decode files.
        origin: Of the features, for the names of the scores.
        store: Where features of networks are kept on disk; in memory without.
    """

    train: ImageSet
    test: ImageSet
    crop: DataConfig
    kinds: tuple[str, ...] = ("knn", "linear")
    ks: tuple[int, ...] = (20, 200)
    shots: tuple[int, ...] = ()
    draws: int = DRAWS
    seed: int = 0
    many: int = MANY
    few: int = FEW
    turn_training: bool = False
    device: torch.device | str = "cpu"
    workers: int = 0
    origin: str = "trained"
    store: FeatureCache | None = None

    def run(self, representation: Representation) -> Iterator[tuple[ScoreName, dict[str, Any]]]:
        """Probe a representation.

        Yields:
            The name of a score and the metrics of
            `quarterturn.metrics.classification.classification_metrics`, or, where images have
            several labels each, of `quarterturn.metrics.label_sets.label_set_metrics`; of
            ``few-shot-5`` and its kin, those of each draw.
        """
        known = labelled(self._training_features(representation))
        upright = labelled(self.extract(self.test, representation))
        yield from self.compare(representation, self.fit(known), upright)

    def fit(self, known: LabelledParts) -> dict[str, list[Classifier]]:
        """The classifiers of each part."""
        few_shot_only = self.kinds == ("fewshot",)
        name, per_part = "few-shot draws", len(self.shots) * self.draws
        if not few_shot_only:
            name, per_part = "classifiers", len(self.kinds)
        found: dict[str, list[Classifier]] = {}
        with stage(name, total=per_part * len(known), weight=len(self.train)) as bar:
            for part, features in known.items():
                found[part] = []
                for classifier in self._classifiers(features):
                    found[part].append(classifier)
                    bar.advance()
        return found

    def _classifiers(self, train: LabelledFeatures) -> Iterator[Classifier]:
        num_classes = len(self.train.class_names)
        if "knn" in self.kinds:
            yield nearest_neighbours(train, self.ks, num_classes)
        if "linear" in self.kinds:
            yield linear(train, num_classes)
        if "fewshot" in self.kinds:
            for shots in self.shots:
                for number in range(self.draws):
                    yield few_shot(train, num_classes, shots, seed=self.seed, number=number)

    def compare(
        self,
        representation: Representation,
        fitted: dict[str, list[Classifier]],
        upright: LabelledParts,
    ) -> Iterator[tuple[ScoreName, dict[str, Any]]]:
        """`run`, where the classifiers and the features of the upright test images are at hand."""
        turns = random_turns(len(self.test), self.seed)
        turned = labelled(self.extract(self.test, representation, turns))
        num_passes = 2 * sum(map(len, fitted.values()))
        with stage("scores", total=num_passes, weight=len(self.test)) as bar:
            for part, classifiers in fitted.items():
                views = {"upright": upright[part], "turned": turned[part]}
                for classifier, (view, test) in itertools.product(classifiers, views.items()):
                    for name, predicted in classifier.predict(test.values).items():
                        metrics = self._metrics(predicted, test.labels, classifier)
                        score = ScoreName(self.origin, part, name, view)
                        yield score, {**metrics, **classifier.chosen}
                    bar.advance()

    def _metrics(
        self, predicted: NDArray[Any], labels: NDArray[Any], classifier: Classifier
    ) -> dict[str, Any]:
        if labels.ndim == 2:
            return label_set_metrics(predicted, labels, self.train.class_names)
        return classification_metrics(
            predicted,
            labels,
            self.train.class_names,
            classifier.class_counts,
            many=self.many,
            few=self.few,
        )

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
            "turns": turns,
            "device": self.device,
            "workers": self.workers,
        }
        if self.store is not None and isinstance(representation, NetworkFeatures):
            return cached_features(images, self.crop, representation, self.store, **options)
        return extract_parts(images, self.crop, representation, **options)


def labelled(parts: Parts) -> LabelledParts:
    """All of the features, with their labels."""
    return {part: features.of(features.indices) for part, features in parts.items()}


def images_passed(split: LabelledData, seeds: Sequence[int]) -> int:
    """The work of `probe_over_seeds`, in images: of feature passes, fits and predictions."""
    upright = len(split.train) + (0 if split.test is None else len(split.test))
    return upright + sum(
        len(train) + 2 * len(held) for train, held in (split.parts(seed) for seed in seeds)
    )


def probe_over_seeds(
    representation: Representation,
    split: LabelledData,
    crop: DataConfig,
    seeds: Sequence[int],
    **options: Any,
) -> dict[ScoreName, list[dict[str, Any]]]:
    """Probe a representation for several seeds, doing once what does not depend on them.

    Args:
        representation: Images to named features.
        split: Labelled images; the seeds part them where they have no test part.
        crop: Crop and normalisation settings.
        seeds: Of turns, held-out parts and draws.
        **options: As for `Probe`.

    Returns:
        The names and metrics that `Probe.run` yields, the metrics as a list over the seeds and, for
        each, over the draws.
    """
    whole = Probe(split.train, split.tests, crop, **options)
    all_known = whole.extract(split.train, representation)
    all_tests = all_known if split.test is None else whole.extract(split.test, representation)
    measured: dict[ScoreName, list[dict[str, Any]]] = {}
    fitted: dict[str, list[Classifier]] | None = None
    for seed in seeds:
        train, held = split.parts(seed)
        one = replace(
            whole, train=split.train.subset(train), test=split.tests.subset(held), seed=seed
        )
        if fitted is None or split.test is None or "fewshot" in whole.kinds:
            fitted = one.fit({part: found.of(train) for part, found in all_known.items()})
        else:
            skip("classifiers", len(train))
        upright = {part: found.of(held) for part, found in all_tests.items()}
        for name, value in one.compare(representation, fitted, upright):
            measured.setdefault(name, []).append(value)
    return measured


def frozen_features_protocol(
    split: LabelledData, seeds: Sequence[int], *, grid: int, many: int = MANY, few: int = FEW
) -> dict[str, Any]:
    """The protocol of kNN and linear classifiers on frozen features.

    Args:
        split: Images and labels.
        seeds: Of turns and held-out parts.
        grid: Side of the grid that maps are averaged over.
        many: Classes with more training images are ``many``.
        few: Classes with fewer are ``few``.
    """
    return protocol_of(
        "frozen-features",
        split,
        seeds,
        grid=grid,
        many=many,
        few=few,
        knn_temperature=TEMPERATURE,
        linear_max_iterations=MAX_ITERATIONS,
    )


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
        nearest = find_nearest(features.values, turned[part].values, k=1).rows[:, 0]
        found[part] = float((nearest == torch.arange(len(nearest))).float().mean())
    return found
