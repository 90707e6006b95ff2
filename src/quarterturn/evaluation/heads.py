"""Classifiers trained on layers of a frozen backbone, by a protocol of the literature.

They go through the training loop as any method does, and an interrupted training goes on where it
was. The last epoch counts; no test image chooses anything.

Shapes: n images; C classes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from quarterturn.config import Config
from quarterturn.data.feature_batches import FeatureBatches, flat_rows
from quarterturn.data.imageset import ImageSet
from quarterturn.data.labelled import LabelledSplit
from quarterturn.data.selection import first_of_each_class
from quarterturn.data.views import list_views
from quarterturn.engine.loop import fit
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import DataError
from quarterturn.evaluation.features import Features, extract_parts, random_turns
from quarterturn.evaluation.kept import kept_features
from quarterturn.evaluation.representation import NetworkFeatures
from quarterturn.evaluation.results import protocol_of
from quarterturn.evaluation.store import FeatureStore
from quarterturn.methods.base import Network
from quarterturn.methods.frozen_features import (
    FrozenFeatures,
    HeadsNetwork,
    KeptFeaturesNetwork,
    build_classifiers,
    feature_shapes,
)
from quarterturn.metrics import FEW, MANY, classification_metrics
from quarterturn.models.probe_heads import MaxPoolTo
from quarterturn.training import prepare_training

Numbers = NDArray[np.int64]
Probabilities = dict[str, tuple[NDArray[np.float32], Numbers]]
"""Name of features to the (n, C) probabilities by their classifier, and the (n,) true classes."""


BATCH = 256
"""Kept features that go through the classifiers at once, in tests."""


def heads_protocol(
    name: str, split: LabelledSplit, seeds: Sequence[int], recipe: Config, *, many: int, few: int
) -> dict[str, Any]:
    """What figures of trained classifiers must have in common; see `protocol_of`.

    How images are shown is the run's own, and which layers and numbers of images were asked for is
    told by the figures' names; neither is among it.
    """
    data, settings, run = recipe.data, asdict(recipe.heads), recipe.run
    del settings["layers"], settings["images_per_class"]
    crops = ("crop_scale", "crop_ratio", "crop_padding", "crop_fraction", "flip")
    return protocol_of(
        name, split, seeds,
        **settings,
        **({crop: getattr(data, crop) for crop in crops} if recipe.heads.augment else {}),
        **asdict(recipe.optimizer),
        epochs=run.epochs, batch_size=run.batch_size, precision=run.precision,
        many=many, few=few,
    )  # fmt: skip


@dataclass(frozen=True)
class HeadsProbe:
    """Trains a protocol's classifiers, and tests them.

    Attributes:
        split: Labelled images.
        recipe: The protocol, for the run's backbone; see `quarterturn.protocols.protocol_for`.
        runtime: Where it is computed.
        folder: Where trainings leave their states, for an interruption; see `finish`.
        store: Where features are kept, of protocols that extract them once.
        many: Classes with more training images than this are ``many``.
        few: Classes with fewer training images than this are ``few``.
        console: Where to print; None for silence.
    """

    split: LabelledSplit
    recipe: Config
    runtime: Runtime
    folder: Path
    store: FeatureStore
    many: int = MANY
    few: int = FEW
    console: Console | None = None

    def run(
        self, network: Network, origin: str, seeds: Sequence[int]
    ) -> dict[str, list[dict[str, Any]]]:
        """Probe a network.

        Args:
            network: Its backbone is frozen from here on.
            origin: A word for the network, ``trained`` or ``untrained``.
            seeds: Of the classifiers' weights, the images' order and crops, the test images' turns,
                and of the parts where the data has no test part.

        Returns:
            ``"<origin>/<features>/<classifier>/<view>"`` to the metrics of
            `quarterturn.metrics.classification_metrics`, one for each seed.

        Raises:
            ConfigError: A layer that the backbone has not, or that a classifier does not fit.
            DataError: No class has as many images as are asked for.
        """
        images, labels = self.split.train, self.split.train.labels
        assert labels is not None
        layers = NetworkFeatures(network, self.recipe.heads.layers or None).layers
        source = (_FromImages if self.recipe.heads.augment else _FromFeatures)(
            self, network, layers
        )
        measured: dict[str, list[dict[str, Any]]] = {}
        for seed in seeds:
            train, held = self.split.parts(seed)
            turned = random_turns(len(held), seed)
            for classifier, chosen in self._training_parts(labels, train):
                method = source.train(chosen, seed, f"{origin}-{classifier}-seed-{seed}")
                counts = np.bincount(labels[chosen], minlength=len(images.class_names))
                for view, turns in {"upright": None, "turned": turned}.items():
                    for name, (said, truth) in source.predict(method, held, turns).items():
                        metrics = classification_metrics(
                            said.argmax(axis=1), truth, images.class_names, counts,
                            many=self.many, few=self.few,
                        )  # fmt: skip
                        key = f"{origin}/{name}/{classifier}/{view}"
                        measured.setdefault(key, []).append(metrics)
        return measured

    def finish(self) -> None:
        """Delete the states of the trainings, when their figures are written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def fit(
        self, network: HeadsNetwork, chosen: Numbers, seed: int, name: str,
        batches: FeatureBatches | None = None,
    ) -> FrozenFeatures:  # fmt: skip
        """Train classifiers to the end, or from where an earlier call was interrupted."""
        settings = self.recipe.heads
        most = min(self.recipe.run.batch_size, settings.draws or len(chosen))
        config = self.recipe.with_settings(seed=seed, batch_size=most)
        network = network.to(self.runtime.device).to(memory_format=torch.channels_last)
        self.folder.mkdir(parents=True, exist_ok=True)
        training = prepare_training(
            config, self.split.train.subset(chosen), self.runtime,
            method=FrozenFeatures(network), batches=batches,
            source=self.split.source, checkpoint=self.folder / f"{name}.ckpt",
            metrics=self.folder / f"{name}.jsonl", console=self.console, description=name,
            shorter="--epochs or --limit",
        )  # fmt: skip
        with training.telemetry:
            fit(training)
        return FrozenFeatures(network)

    def _training_parts(self, labels: Numbers, train: Numbers) -> Iterator[tuple[str, Numbers]]:
        """Classifiers by name, with the numbers of the images that each learns from."""
        settings = self.recipe.heads
        if not settings.images_per_class:
            yield settings.head, train
            return
        found = {k: first_of_each_class(labels[train], k) for k in settings.images_per_class}
        lacking = [k for k, chosen in found.items() if chosen is None]
        fewest = np.unique(labels[train], return_counts=True)[1].min()
        words = f"the smallest class has {fewest} training images"
        if len(lacking) == len(found):
            raise DataError(f"--images-per-class {' '.join(map(str, lacking))}: {words}")
        if lacking and self.console is not None:
            self.console.print(f"left out, {words}: {', '.join(map(str, lacking))} a class")
        for k, chosen in found.items():
            if chosen is not None:
                yield f"{settings.head}-{k}", train[chosen]


class _FromImages:
    """Learns from random crops: the backbone runs over every image in every epoch."""

    def __init__(self, probe: HeadsProbe, network: Network, layers: tuple[str, ...]) -> None:
        self.probe, self.network, self.layers = probe, network, layers
        self.shapes = feature_shapes(network, layers, probe.recipe.data.image_size)

    def train(self, chosen: Numbers, seed: int, name: str) -> FrozenFeatures:
        num_classes = len(self.probe.split.train.class_names)
        heads = build_classifiers(self.shapes, num_classes, self.probe.recipe.heads, seed)
        return self.probe.fit(HeadsNetwork(self.network, self.layers, heads), chosen, seed, name)

    def predict(self, method: FrozenFeatures, held: Numbers, turns: Tensor | None) -> Probabilities:
        recipe, tests = self.probe.recipe, self.probe.split.tests.subset(held)
        ten = recipe.heads.test_crops == 10
        # Ten crops are five and their mirror images, whether or not the training mirrors.
        views = list_views(replace(recipe.data, flip=ten), 5 if ten else 1)
        by_view = [
            extract_parts(
                tests, recipe.data, _Probabilities(method.network),
                turns=turns, device=self.probe.runtime.device,
                workers=recipe.machine.workers, view=view.crops,
            )
            for view in views
        ]  # fmt: skip
        return {name: _mean([found[name] for found in by_view]) for name in by_view[0]}


class _FromFeatures:
    """Learns from centre crops: the backbone runs over every image once, whatever the epochs."""

    def __init__(self, probe: HeadsProbe, network: Network, layers: tuple[str, ...]) -> None:
        settings = probe.recipe.heads
        self.probe = probe
        # What a linear classifier begins with is kept in place of the maps: they are far larger.
        pool = MaxPoolTo(settings.num_features) if settings.head == "linear" else nn.Identity()
        self.representation = NetworkFeatures(network, layers, pool=pool)
        self.known = self._extract(probe.split.train)
        self.tests = self.known if probe.split.test is None else self._extract(probe.split.test)
        self.shapes = {name: found.values.shape[1:] for name, found in self.known.items()}

    def train(self, chosen: Numbers, seed: int, name: str) -> FrozenFeatures:
        settings, split = self.probe.recipe.heads, self.probe.split
        heads = build_classifiers(self.shapes, len(split.train.class_names), settings, seed)
        one = next(iter(self.known.values()))
        rows = np.flatnonzero(np.isin(one.indices, chosen))
        assert one.labels is not None
        batches = FeatureBatches(
            [found.values for found in self.known.values()], rows, one.labels[rows],
            batch_size=min(self.probe.recipe.run.batch_size, settings.draws or len(rows)),
            seed=seed, device=self.probe.runtime.device, draws=settings.draws,
        )  # fmt: skip
        return self.probe.fit(
            KeptFeaturesNetwork(self.shapes, heads), chosen, seed, name, batches=batches
        )

    @torch.no_grad()
    def predict(self, method: FrozenFeatures, held: Numbers, turns: Tensor | None) -> Probabilities:
        tests = self.probe.split.tests.subset(held)
        found = self.tests if turns is None else self._extract(tests, turns)
        one = next(iter(found.values()))
        rows = np.flatnonzero(np.isin(one.indices, held)) if turns is None else slice(None)
        rows = np.arange(len(one.indices))[rows]
        model = _Probabilities(method.network).eval()
        said: dict[str, list[NDArray[np.float32]]] = {}
        for some in np.array_split(rows, max(1, len(rows) // BATCH)):
            features = flat_rows([part.values for part in found.values()], some)
            for name, values in model(features.to(self.probe.runtime.device)).items():
                said.setdefault(name, []).append(values.cpu().numpy())
        assert one.labels is not None
        return {name: (np.concatenate(parts), one.labels[rows]) for name, parts in said.items()}

    def _extract(self, images: ImageSet, turns: Tensor | None = None) -> dict[str, Features]:
        recipe = self.probe.recipe
        return kept_features(
            images, recipe.data, self.representation, self.probe.store,
            turns=turns, device=self.probe.runtime.device, workers=recipe.machine.workers,
        )  # fmt: skip


class _Probabilities(nn.Module):
    """A network of classifiers, whose logits become probabilities."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: logits.softmax(dim=1) for name, logits in self.network(images).items()}


def _mean(by_view: Sequence[Features]) -> tuple[NDArray[np.float32], Numbers]:
    """The mean over views, of the images that could be read for each of them."""
    in_all = reduce(np.intersect1d, [found.indices for found in by_view])
    same = [found.of(in_all) for found in by_view]
    assert same[0].labels is not None
    return np.mean([found.values for found in same], axis=0), same[0].labels
