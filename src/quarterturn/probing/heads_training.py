"""How classifiers on a frozen backbone are trained, and what they say then.

Shapes: n images; C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, reduce
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quarterturn.data.feature_batches import FeatureBatches, flat_rows
from quarterturn.data.imageset import ImageSet
from quarterturn.data.labelled import LabelledData
from quarterturn.data.views import list_views
from quarterturn.engine.learner import Batches
from quarterturn.engine.runtime import Runtime
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.extraction import Features, LabelledFeatures, extract_parts
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.methods.base import Network
from quarterturn.methods.configuration import Config
from quarterturn.methods.frozen_features import (
    FrozenFeatures,
    HeadsNetwork,
    KeptFeaturesNetwork,
    Shapes,
    build_classifiers,
    feature_shapes,
)
from quarterturn.methods.probe_heads_options import ProbeHeadsOptions
from quarterturn.models.probe_heads import MaxPoolTo
from quarterturn.progress import stage
from quarterturn.runs.life_cycle import TrainingFiles, TrainingJob, train

Numbers = NDArray[np.int64]
Probabilities = dict[str, tuple[NDArray[np.float32], Numbers]]
"""Name of features to the (n, C) probabilities by their classifier, and the (n,) true classes."""

BATCH = 256
"""Kept features that go through the classifiers at once, in tests."""


@dataclass(frozen=True)
class HeadsTraining:
    """Trains the classifiers of one network by a protocol; how they get features is open.

    Attributes:
        network: The network that is probed; nothing in it changes.
        layers: Layers of the backbone.
        split: Labelled images.
        recipe: The protocol.
        runtime: Where it is computed.
        folder: Where trainings leave their states.
    """

    network: Network
    layers: tuple[str, ...]
    split: LabelledData
    recipe: Config
    runtime: Runtime
    folder: Path

    @property
    def heads(self) -> ProbeHeadsOptions:
        """Which classifiers the protocol trains."""
        return self.recipe.method_as(ProbeHeadsOptions)

    def train(self, chosen: Numbers, seed: int, name: str) -> HeadsNetwork:
        """Train classifiers to the end, or from where an earlier call was interrupted.

        Args:
            chosen: Numbers of the images to learn from.
            seed: Of the weights, the order and the crops.
            name: Of the training: of its state, and beside the progress bar.
        """
        raise NotImplementedError

    @property
    def shapes(self) -> Shapes:
        """The shape of each part of an image's features."""
        raise NotImplementedError

    def rebuild(self, shapes: Shapes, classifiers: dict[str, nn.Module]) -> HeadsNetwork:
        """A network of classifiers that were trained before, for `predict`.

        Args:
            shapes: Of the features that they read.
            classifiers: By the names of the features.
        """
        raise NotImplementedError

    def predict(self, trained: HeadsNetwork, held: Numbers, turns: Tensor | None) -> Probabilities:
        """What trained classifiers say of test images.

        Args:
            trained: By `train`.
            held: (n,) numbers of the test images.
            turns: (n,) their quarter turns; upright without.
        """
        raise NotImplementedError

    def _classifiers(self, shapes: Shapes, seed: int) -> dict[str, nn.Module]:
        num_classes = len(self.split.train.class_names)
        return build_classifiers(shapes, num_classes, self.heads, seed)

    def _placed(self, network: HeadsNetwork) -> HeadsNetwork:
        return network.to(self.runtime.device).to(memory_format=torch.channels_last)

    def _fit(
        self,
        network: HeadsNetwork,
        chosen: Numbers,
        seed: int,
        name: str,
        batches: FeatureBatches | None = None,
    ) -> HeadsNetwork:
        network = self._placed(network)
        self.folder.mkdir(parents=True, exist_ok=True)
        train(
            FrozenFeaturesTraining(
                config=self.recipe.with_settings(seed=seed),
                images=self.split.train.subset(chosen),
                runtime=self.runtime,
                source=self.split.source,
                files=TrainingFiles(self.folder / f"{name}.ckpt", self.folder / f"{name}.jsonl"),
                name=name,
                network=network,
                batches=batches,
            )
        )
        return network


@dataclass(frozen=True, kw_only=True)
class FrozenFeaturesTraining(TrainingJob[FrozenFeatures]):
    """Trains classifiers on a frozen backbone; they are tested afterwards.

    Attributes:
        network: Features and classifiers.
        batches: Features that were extracted before; None for crops of the images.
    """

    network: HeadsNetwork
    batches: FeatureBatches | None

    shorter = "--epochs or --limit"

    def build_method(self) -> FrozenFeatures:
        """The losses of all classifiers."""
        return FrozenFeatures(self.network)

    def build_batches(self, method: FrozenFeatures) -> Batches:
        """Features where they were extracted, else crops."""
        return super().build_batches(method) if self.batches is None else self.batches

    def draws(self) -> int | None:
        """As the protocol has it."""
        return self.config.method_as(ProbeHeadsOptions).images_per_epoch


@dataclass(frozen=True)
class HeadsOnImages(HeadsTraining):
    """Learns from random crops: the backbone runs over every image in every epoch."""

    @cached_property
    def shapes(self) -> Shapes:
        """See `HeadsTraining.shapes`."""
        return feature_shapes(self.network, self.layers, self.recipe.data.image_size)

    def train(self, chosen: Numbers, seed: int, name: str) -> HeadsNetwork:
        """See `HeadsTraining.train`."""
        classifiers = self._classifiers(self.shapes, seed)
        return self._fit(HeadsNetwork(self.network, self.layers, classifiers), chosen, seed, name)

    def rebuild(self, shapes: Shapes, classifiers: dict[str, nn.Module]) -> HeadsNetwork:
        """See `HeadsTraining.rebuild`."""
        return self._placed(HeadsNetwork(self.network, self.layers, classifiers))

    def predict(self, trained: HeadsNetwork, held: Numbers, turns: Tensor | None) -> Probabilities:
        """See `HeadsTraining.predict`; with ten crops, the mean of their probabilities."""
        tests, ten = self.split.tests.subset(held), self.heads.test_crops == 10
        # Ten crops are five and their mirror images, whether or not the training mirrors.
        views = list_views(replace(self.recipe.data, flip=ten), 5 if ten else 1)
        model = _Probabilities(trained).eval()
        summed: dict[str, Features] = {}
        for view in views:  # one after the other: those of ImageNet take a gigabyte a view
            for name, found in extract_parts(
                tests,
                self.recipe.data,
                model,
                turns=turns,
                device=self.runtime.device,
                workers=self.recipe.machine.num_workers,
                view=view.crops,
            ).items():
                summed[name] = _sum(summed[name], found) if name in summed else found
        count = np.float32(len(views))
        return {name: (of.values / count, _labels(of)) for name, of in summed.items()}


def kept_representation(
    network: Network, layers: tuple[str, ...], settings: ProbeHeadsOptions
) -> NetworkFeatures:
    """What is kept of a network for its classifiers.

    For linear ones that is what they begin with, pooled maps: whole ones are far larger.
    """
    pool = MaxPoolTo(settings.num_features) if settings.head == "linear" else nn.Identity()
    return NetworkFeatures(network, layers, pool=pool)


@dataclass(frozen=True)
class HeadsOnFeatures(HeadsTraining):
    """Learns from centre crops: the backbone runs over every image once, whatever the epochs.

    Attributes:
        store: Where features are kept.
    """

    store: FeatureCache

    @cached_property
    def _representation(self) -> NetworkFeatures:
        return kept_representation(self.network, self.layers, self.heads)

    @cached_property
    def _known(self) -> dict[str, Features]:
        return self._extract(self.split.train)

    @cached_property
    def _tests(self) -> dict[str, Features]:
        return self._known if self.split.test is None else self._extract(self.split.test)

    def train(self, chosen: Numbers, seed: int, name: str) -> HeadsNetwork:
        """See `HeadsTraining.train`."""
        known = _read_in_all(self._known, chosen)
        batches = FeatureBatches(
            [found.values for found in known.values()],
            next(iter(known.values())).labels,
            batch_size=self.recipe.run.batch_size,
            seed=seed,
            device=self.runtime.device,
            draws=self.heads.images_per_epoch,
        )
        network = KeptFeaturesNetwork(self.shapes, self._classifiers(self.shapes, seed))
        return self._fit(network, chosen, seed, name, batches)

    @cached_property
    def shapes(self) -> Shapes:
        """See `HeadsTraining.shapes`."""
        return {name: found.values.shape[1:] for name, found in self._known.items()}

    def rebuild(self, shapes: Shapes, classifiers: dict[str, nn.Module]) -> HeadsNetwork:
        """See `HeadsTraining.rebuild`."""
        # A row holds the features of the parts in the order in which they are extracted.
        in_order = {name: shapes[name] for name in self._tests}
        by_name = {name: classifiers[name] for name in in_order}
        return self._placed(KeptFeaturesNetwork(in_order, by_name))

    @torch.no_grad()
    def predict(self, trained: HeadsNetwork, held: Numbers, turns: Tensor | None) -> Probabilities:
        """See `HeadsTraining.predict`."""
        if turns is None:
            found = _read_in_all(self._tests, held)
        else:
            turned = self._extract(self.split.tests.subset(held), turns)
            found = _read_in_all(turned, np.arange(len(held)))
        labels = next(iter(found.values())).labels
        model = _Probabilities(trained).eval()
        said: dict[str, list[NDArray[np.float32]]] = {}
        for rows in np.array_split(np.arange(len(labels)), len(labels) // BATCH + 1):
            features = flat_rows([part.values for part in found.values()], rows)
            for name, values in model(features.to(self.runtime.device)).items():
                said.setdefault(name, []).append(values.cpu().numpy())
        return {name: (np.concatenate(parts), labels) for name, parts in said.items()}

    def _extract(self, images: ImageSet, turns: Tensor | None = None) -> dict[str, Features]:
        with stage("frozen layers", total=len(images), weight=0.1):
            return cached_features(
                images,
                self.recipe.data,
                self._representation,
                self.store,
                turns=turns,
                device=self.runtime.device,
                workers=self.recipe.machine.num_workers,
            )


class _Probabilities(nn.Module):
    """A network of classifiers, whose logits become probabilities."""

    def __init__(self, network: HeadsNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: logits.softmax(dim=1) for name, logits in self.network(images).items()}


def _read_in_all(parts: dict[str, Features], chosen: Numbers) -> dict[str, LabelledFeatures]:
    """Features of some images, without those that could not be read for one part or another.

    Layers may have been extracted in different passes, and a row must be one image's in all.
    """
    read = reduce(np.intersect1d, [part.indices for part in parts.values()], chosen)
    return {name: part.of(read) for name, part in parts.items()}


def _sum(one: Features, other: Features) -> Features:
    """The values of both views added, of the images that could be read for each of them."""
    same = np.intersect1d(one.indices, other.indices)
    mine, its = one.of(same), other.of(same)
    return Features(mine.values[:] + its.values[:], mine.indices, mine.labels)


def _labels(features: Features) -> Numbers:
    assert features.labels is not None
    return features.labels
