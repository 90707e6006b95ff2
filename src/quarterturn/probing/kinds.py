"""The kinds of a probe: classifiers that are fitted to features, and those that are trained."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from quarterturn.config import DataConfig
from quarterturn.data.label_sets import require_both
from quarterturn.data.labelled import LabelledData
from quarterturn.data.small_images import smaller_than_crop, warn_small
from quarterturn.engine.runtime import Runtime
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.features.space_needed import (
    FEW_SHOT_COPIES,
    bytes_to_cache,
    passes,
    require_disk_space,
    require_memory,
)
from quarterturn.methods.base import Network
from quarterturn.methods.configuration import Config
from quarterturn.probing.few_shot import few_shot_protocol, usable_shots
from quarterturn.probing.fitted import frozen_features_protocol, images_passed, probe_over_seeds
from quarterturn.probing.kept_classifiers import (
    ClassifierStore,
    KeptClassifier,
    classifier_set,
)
from quarterturn.probing.trained_heads import HeadsProbe, heads_protocol
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.protocols import protocol_id
from quarterturn.runs.records import ScoreName

logger = logging.getLogger(__name__)

KINDS = {
    "all": ("knn", "linear"),
    "knn": ("knn",),
    "linear": ("linear",),
    "fewshot": ("fewshot",),
}
"""What ``--kind`` asks for. Few-shot figures are of a protocol of their own."""


@dataclass(frozen=True)
class ProbeTask:
    """What every kind of probe works on; ``data`` and ``trained_on`` are DATA in words."""

    run: Run
    weights: str
    networks: dict[str, Network]
    split: LabelledData
    store: FeatureCache
    runtime: Runtime
    workers: int
    many: int
    few: int
    data: str
    trained_on: str

    @property
    def rules(self) -> dict[str, Any]:
        """Which classes are many and which few."""
        return {"many": self.many, "few": self.few}

    def tell_room(
        self, models: Sequence[NetworkFeatures], seeds: Sequence[int], *, squashed: bool = False
    ) -> None:
        """Say how much room the features to come take on the disk; refuse where it has none."""
        if not self.runtime.is_main:
            return
        crop = self.run.config.data
        needed = bytes_to_cache(models, self.split, crop, seeds, self.store, squashed=squashed)
        if words := require_disk_space(needed, self.store.folder):
            logger.info(words)

    def extract_together(
        self,
        models: Sequence[NetworkFeatures],
        crop: DataConfig,
        seeds: Sequence[int],
        *,
        squashed: bool = False,
    ) -> None:
        """Compute by all processes what the main one will look for in the store; they then part."""
        if self.runtime.world_size == 1:
            return
        with stage("features of all passes", weight=len(models)):
            for model in models:
                for images, turns in passes(self.split, seeds):
                    cached_features(
                        images,
                        crop,
                        model,
                        self.store,
                        turns=turns,
                        squashed=squashed,
                        device=self.runtime.device,
                        workers=self.workers,
                        runtime=self.runtime,
                    )


@dataclass(frozen=True)
class Measured:
    """What a probe has found, what to do when that is written, and where classifiers are kept."""

    protocol: dict[str, Any]
    scores: dict[ScoreName, list[dict[str, Any]]]
    left_out: str = ""
    finish: Callable[[], None] = lambda: None
    kept: Path | None = None


def fitted(
    task: ProbeTask,
    seeds: Sequence[int],
    kind: str,
    layers: tuple[str, ...] | None,
    grid: int,
    shots: tuple[int, ...],
    draws: int,
) -> Measured | None:
    """Classifiers that are fitted to features; None to all processes but the main one."""
    split, crop, left_out = task.split, task.run.config.data, ""
    models = {o: NetworkFeatures(network, layers, grid) for o, network in task.networks.items()}
    if split.train.label_sets is not None:
        if kind == "all":
            kind, left_out = "linear", "knn, which is for images with one label each"
        for seed in seeds:
            train = split.parts(seed)[0]
            require_both(split.train.label_sets[train], split.train.class_names)
    if kind == "fewshot":
        shots, left_out = usable_shots(split, seeds, shots)
        protocol = few_shot_protocol(split, seeds, draws=draws, grid=grid, **task.rules)
    else:
        protocol = frozen_features_protocol(split, seeds, grid=grid, **task.rules)
    task.tell_room([*models.values()], seeds)
    if kind == "fewshot":
        learned = max(shots) * len(split.train.class_names)
        require_memory(learned, models["trained"], crop, FEW_SHOT_COPIES)
    elif kind != "knn":
        require_memory(protocol["training_images"], models["trained"], crop)
    task.extract_together([*models.values()], crop, seeds)
    if not task.runtime.is_main:
        return None
    scores: dict[ScoreName, list[dict[str, Any]]] = {}
    for origin, model in models.items():
        with stage(f"{origin} backbone", total=images_passed(split, seeds)):
            scores |= probe_over_seeds(
                model,
                split,
                crop,
                seeds,
                origin=origin,
                kinds=KINDS[kind],
                shots=shots,
                draws=draws,
                **task.rules,
                device=task.runtime.device,
                workers=task.workers,
                store=task.store,
            )
    return Measured(protocol, scores, left_out)


def trained(task: ProbeTask, seeds: Sequence[int], name: str, recipe: Config) -> Measured | None:
    """Classifiers that are trained by a protocol; None to all processes but the main one."""
    protocol = heads_protocol(name, task.split, seeds, recipe, **task.rules)
    states = task.run.path / "probes" / f"{protocol_id(protocol)}-{task.weights}.training"
    store = ClassifierStore(task.run)
    of = classifier_set(name, task.trained_on, task.weights, task.split, protocol)

    def keep(kept: KeptClassifier, classifier: nn.Module) -> None:
        store.begin(of, task.split.train, task.trained_on)
        store.keep(of, kept, classifier)

    heads = HeadsProbe(
        task.split,
        recipe,
        task.runtime.without_others(),
        folder=states,
        store=task.store,
        keep=keep,
        **task.rules,
    )
    kept = [heads.kept(network) for network in task.networks.values()]
    models = [model for model in kept if model is not None]
    task.tell_room(models, seeds)
    task.extract_together(models, recipe.data, seeds)
    if not task.runtime.is_main:
        return None
    scores: dict[ScoreName, list[dict[str, Any]]] = {}
    for origin, network in task.networks.items():
        # Each training is 1, its two tests and their features 0.3.
        num_trainings = len(seeds) * max(1, len(heads.heads.images_per_class or ()))
        with stage(f"{origin} backbone", total=1.3 * num_trainings):
            scores |= heads.run(network, origin, seeds)
    tests = task.split.tests
    warn_small(tests, smaller_than_crop(tests, recipe.data), recipe.data)
    return Measured(protocol, scores, finish=heads.finish, kept=store.folder / of.folder_name)
