"""Classifiers trained on layers of a frozen backbone, by a protocol of the literature.

They go through the training loop as any method does, and an interrupted training resumes where it
was. The last epoch counts; no test image chooses anything.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from quarterturn.config import OptimizerConfig
from quarterturn.data.labelled import LabelledData
from quarterturn.data.subsets import first_of_each_class
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import DataError
from quarterturn.features.cache import FeatureCache
from quarterturn.features.extraction import random_turns
from quarterturn.features.network_features import NetworkFeatures, weights_fingerprint
from quarterturn.methods.base import Network
from quarterturn.methods.configuration import Config
from quarterturn.methods.frozen_features import HeadsNetwork
from quarterturn.methods.probe_heads_options import ProbeHeadsOptions
from quarterturn.metrics.classification import FEW, MANY, classification_metrics
from quarterturn.probing.heads_training import (
    HeadsOnFeatures,
    HeadsOnImages,
    HeadsTraining,
    Numbers,
    kept_representation,
)
from quarterturn.probing.kept_classifiers import KeptClassifier
from quarterturn.progress import stage
from quarterturn.runs.protocols import protocol_id, protocol_of
from quarterturn.runs.records import ScoreName

logger = logging.getLogger(__name__)

Measured = dict[ScoreName, list[dict[str, Any]]]
"""Name of a score to its metrics, one for each seed."""

LATER_SETTINGS = ("warmup_steps", "layer_decay", "bias_rate", "clip_gradient", "rate_in_momentum")
"""Of the optimizer, which protocols of early versions do not name."""


def heads_protocol(
    name: str, split: LabelledData, seeds: Sequence[int], recipe: Config, *, many: int, few: int
) -> dict[str, Any]:
    """What figures of trained classifiers must have in common; see `protocol_of`.

    The side and the scale of the pixels are the run's own, and which layers and numbers of images
    were asked for is in the figures' names; neither is among it.
    """
    data, heads, run = recipe.data, recipe.method_as(ProbeHeadsOptions), recipe.run
    settings = asdict(heads)
    del settings["layers"], settings["images_per_class"]
    optimizer = asdict(recipe.optimizer)
    del optimizer["noise_aware_from"], optimizer["noise_aware_rate"]  # of the pretext task only
    defaults = asdict(OptimizerConfig())
    for setting in LATER_SETTINGS:
        if optimizer[setting] == defaults[setting]:
            del optimizer[setting]
    crops = ["crop_scale", "crop_ratio", "crop_padding", "crop_fraction", "flip", "eval_crop"]
    if data.fixed_crop:  # which protocols of early versions do not name either
        crops.append("fixed_crop")
    return protocol_of(
        name,
        split,
        seeds,
        **settings,
        **({crop: getattr(data, crop) for crop in crops} if heads.augment else {}),
        **optimizer,
        epochs=run.epochs,
        batch_size=run.batch_size,
        precision=run.precision,
        many=many,
        few=few,
    )


@dataclass(frozen=True)
class HeadsProbe:
    """Trains a protocol's classifiers, and tests them.

    Attributes:
        split: Labelled images.
        recipe: The protocol for the run's backbone, by
            `quarterturn.presets.protocols.protocol_for`.
        runtime: Where it is computed.
        folder: Where trainings leave their states, for an interruption; see `finish`.
        store: Where features are kept, of protocols that extract them once.
        many: Classes with more training images than this are ``many``.
        few: Classes with fewer training images than this are ``few``.
        keep: Called with each classifier once it is trained.
    """

    split: LabelledData
    recipe: Config
    runtime: Runtime
    folder: Path
    store: FeatureCache
    many: int = MANY
    few: int = FEW
    keep: Callable[[KeptClassifier, nn.Module], None] = lambda kept, classifier: None

    @property
    def heads(self) -> ProbeHeadsOptions:
        """Which classifiers the protocol trains."""
        return self.recipe.method_as(ProbeHeadsOptions)

    def run(
        self, network: Network, origin: str, seeds: Sequence[int]
    ) -> dict[ScoreName, list[dict[str, Any]]]:
        """Probe a network.

        Args:
            network: Nothing in it changes.
            origin: A word for the network, ``trained`` or ``untrained``.
            seeds: Of the classifiers' weights, the images' order and crops, the test images' turns,
                and of the parts where the data has no test part.

        Returns:
            The name of each score to the metrics of
            `quarterturn.metrics.classification.classification_metrics`, one for each seed.

        Raises:
            ConfigError: A layer that the backbone has not, or that a classifier does not fit.
            DataError: The smallest class has fewer images than the least number that is asked for.
        """
        images, labels = self.split.train, self.split.train.labels
        assert labels is not None
        training = self._training(network)
        measured: Measured = {}
        fingerprint = weights_fingerprint(network)
        for seed in seeds:
            train, _ = self.split.parts(seed)
            for classifier, chosen in self._training_parts(labels, len(images.class_names), train):
                trained = training.train(chosen, seed, f"{origin}-{classifier}-seed-{seed}")
                counts = np.bincount(labels[chosen], minlength=len(images.class_names))
                for part, head in zip(trained.names, trained.classifiers, strict=True):
                    about = KeptClassifier(
                        f"{origin}-{part}-{classifier}-seed-{seed}.ckpt",
                        origin,
                        part,
                        classifier,
                        seed,
                        tuple(training.shapes[part]),
                        tuple(map(int, counts)),
                        fingerprint,
                    )
                    self.keep(about, head)
                name = ScoreName(origin, "", classifier, "")
                self._test(training, trained, name, counts, seed, measured)
        return measured

    def test_again(
        self,
        network: Network,
        kept: Sequence[KeptClassifier],
        load: Callable[[KeptClassifier], nn.Module],
        measured: Measured,
    ) -> None:
        """Test classifiers that were kept: of one origin, one seed and one number of images.

        Args:
            network: Whose features they read.
            kept: One for each part of the features.
            load: Reads one back.
            measured: As `run` returns it; their metrics are added.
        """
        training, first = self._training(network), kept[0]
        trained = training.rebuild(
            {each.part: each.shape for each in kept}, {each.part: load(each) for each in kept}
        )
        counts = np.array(first.class_counts)
        name = ScoreName(first.origin, "", first.classifier, "")
        self._test(training, trained, name, counts, first.seed, measured)

    def _test(
        self,
        training: HeadsTraining,
        trained: HeadsNetwork,
        of: ScoreName,
        counts: Numbers,
        seed: int,
        measured: Measured,
    ) -> None:
        """Add the metrics of classifiers on both views of the test images."""
        held = self.split.parts(seed)[1]
        for view, turns in {"upright": None, "turned": random_turns(len(held), seed)}.items():
            with stage(f"{view} test images", weight=0.1):
                predicted = training.predict(trained, held, turns)
            for part, (said, truth) in predicted.items():
                metrics = classification_metrics(
                    said.argmax(axis=1),
                    truth,
                    self.split.train.class_names,
                    counts,
                    many=self.many,
                    few=self.few,
                )
                measured.setdefault(replace(of, part=part, view=view), []).append(metrics)

    def kept(self, network: Network) -> NetworkFeatures | None:
        """Which features of a network are kept; None where its backbone runs in every epoch."""
        settings = self.heads
        layers = NetworkFeatures(network, settings.layers or None).layers
        return None if settings.augment else kept_representation(network, layers, settings)

    def finish(self) -> None:
        """Delete the states of the trainings, when their figures are written."""
        shutil.rmtree(self._states, ignore_errors=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    @property
    def _states(self) -> Path:
        # The figures of other layers share the folder, but not the state of a training.
        return self.folder / protocol_id(asdict(self.heads))

    def _training(self, network: Network) -> HeadsTraining:
        layers = NetworkFeatures(network, self.heads.layers or None).layers
        given = (network, layers, self.split, self.recipe, self.runtime, self._states)
        if self.heads.augment:
            return HeadsOnImages(*given)
        return HeadsOnFeatures(*given, self.store)

    def _training_parts(
        self, labels: Numbers, num_classes: int, train: Numbers
    ) -> Iterator[tuple[str, Numbers]]:
        """Classifiers by name, with the numbers of the images that each learns from."""
        settings = self.heads
        if not settings.images_per_class:
            yield settings.head, train
            return
        found = {
            k: first_of_each_class(labels[train], num_classes, k) for k in settings.images_per_class
        }
        lacking = " ".join(str(k) for k, chosen in found.items() if chosen is None)
        fewest = np.bincount(labels[train], minlength=num_classes).min()
        if all(chosen is None for chosen in found.values()):
            raise DataError(
                f"--images-per-class is {lacking}; expected at most {fewest}, the training images "
                "of the smallest class"
            )
        if lacking:
            logger.info(
                f"left out: {lacking} images of each class; the smallest class has {fewest}"
            )
        for k, chosen in found.items():
            if chosen is not None:
                yield f"{settings.head}-{k}", train[chosen]
