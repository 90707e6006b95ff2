"""Probes by linear SVMs: on all training images, or on a few of each class.

Shapes: n training images; m test images; C classes; D feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from quarterturn.data.imageset import ImageSet
from quarterturn.data.label_sets import PRESENT, class_counts, require_both
from quarterturn.data.labelled import LabelledData
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.extraction import Features, LabelledFeatures, random_turns
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.features.space_needed import require_memory
from quarterturn.metrics.average_precision import Rule
from quarterturn.metrics.label_sets import label_set_metrics
from quarterturn.models.probe_heads import MaxPoolTo
from quarterturn.presets.protocols import ALEXNET_LAYERS
from quarterturn.presets.svm import SvmProtocol, svm_protocol
from quarterturn.probing.kinds import Measured, ProbeTask
from quarterturn.probing.svm import (
    Rows,
    chosen_cost,
    expected_warnings,
    fitted_svm,
    scores_of,
    unit_rows,
)
from quarterturn.progress import Stage, stage
from quarterturn.randomness import hash64
from quarterturn.runs.protocols import protocol_of
from quarterturn.runs.records import ScoreName, few_shot_name

RULE: Rule = "envelope"
"""Of `quarterturn.average_precision`, on test images."""
SVM_COPIES = 8.0
"""Copies of its float32 features that an SVM holds in memory: rows and a fold of them in float64,
and the solver's own."""

Numbers = NDArray[np.int64]
Present = NDArray[np.bool_]
Metrics = dict[str, Any]
Found = TypeVar("Found")
Tested = tuple[tuple[str, str], Metrics]
"""The names of a classifier and a view, and its metrics."""

Views = dict[str, tuple[Rows, NDArray[np.int8]]]
"""``upright`` and ``turned`` to (m, D) rows and (m, C) label sets of the test images."""


@dataclass(frozen=True)
class SvmProbe:
    """Trains a protocol's SVMs on frozen features, and tests them.

    Attributes:
        task: What is probed.
        protocol: How.
        seeds: Of held-out parts, turns, draws and the solver's order.
        shots: K in turn; empty for all images.
        on_test: Choose one cost for each K on the test images, as the paper's code does.
    """

    task: ProbeTask
    protocol: SvmProtocol
    seeds: Sequence[int]
    shots: tuple[int, ...]
    on_test: bool

    def run(self, model: NetworkFeatures, origin: str) -> dict[ScoreName, list[Metrics]]:
        """Probe one network.

        Args:
            model: Its features.
            origin: A word for the network, ``trained`` or ``untrained``.

        Returns:
            The name of each score to its metrics, one for each seed and draw.
        """
        split = self.task.split
        known = self._features(model, split.train)
        tests = known if split.test is None else self._features(model, split.test)
        found: dict[ScoreName, list[Metrics]] = {}
        num_classes = len(split.train.class_names)
        total = len(self.seeds) * len(known) * num_classes * max(1, self._num_draws)
        with stage("classifiers", total=total, weight=len(split.train)) as bar:
            for seed in self.seeds:
                train, held = split.parts(seed)
                turns = random_turns(len(held), seed)
                turned = self._features(model, split.tests.subset(held), turns)
                for part in known:
                    shown = {
                        "upright": tests[part].of(held),
                        "turned": turned[part].of(turned[part].indices),
                    }
                    views = {
                        view: (unit_rows(features.values[:]), features.labels)
                        for view, features in shown.items()
                    }
                    for (classifier, view), metrics in self._measured(
                        known[part].of(train), views, seed, bar
                    ):
                        name = ScoreName(origin, part, classifier, view)
                        found.setdefault(name, []).append(metrics)
        return found

    @property
    def _num_draws(self) -> int:
        return len(self.shots) * self.protocol.draws

    def _features(
        self, model: NetworkFeatures, images: ImageSet, turns: Tensor | None = None
    ) -> dict[str, Features]:
        return cached_features(
            images,
            self.task.run.config.data,
            model,
            self.task.store,
            turns=turns,
            squashed=True,
            device=self.task.runtime.device,
            workers=self.task.workers,
        )

    def _measured(
        self, learned: LabelledFeatures, views: Views, seed: int, bar: Stage
    ) -> Iterator[Tested]:
        """Classifier and view, with the metrics, of one seed and part of the features."""
        rows, present = unit_rows(learned.values[:]), learned.labels == PRESENT
        if not self.shots:
            whole = [np.arange(len(rows))] * present.shape[1]
            yield from self._of_rows("svm", rows, present, whole, views, seed, bar)
        for shots in self.shots:
            draws = [
                low_shot_rows(
                    present,
                    learned.indices,
                    shots,
                    self.protocol.negatives_per_positive,
                    seed=seed,
                    number=number,
                )
                for number in range(self.protocol.draws)
            ]
            name = few_shot_name(shots)
            if self.on_test:
                yield from self._by_test(name, rows, present, draws, views, seed, bar)
                continue
            for chosen in draws:
                yield from self._of_rows(name, rows, present, chosen, views, seed, bar)

    def _of_rows(
        self,
        name: str,
        rows: Rows,
        present: Present,
        chosen: list[Numbers],
        views: Views,
        seed: int,
        bar: Stage,
    ) -> Iterator[Tested]:
        """One SVM per class, its cost chosen on training folds."""
        names = self.task.split.train.class_names

        def of_class(c: int) -> tuple[float, LinearSVC]:
            mine, has_class = rows[chosen[c]], present[chosen[c], c]
            cost = chosen_cost(mine, has_class, names[c], self.protocol, seed)
            return cost, fitted_svm(mine, has_class, cost, self.protocol, seed)

        costs, fitted = zip(*self._of_classes(of_class, bar), strict=True)
        yield from self._tested(name, fitted, dict(zip(names, costs, strict=True)), views)

    def _by_test(
        self,
        name: str,
        rows: Rows,
        present: Present,
        draws: list[list[Numbers]],
        views: Views,
        seed: int,
        bar: Stage,
    ) -> Iterator[Tested]:
        """One SVM per class and draw, all of the one cost that is best on upright test images."""
        names = self.task.split.train.class_names

        def of_class(c: int) -> list[list[LinearSVC]]:
            return [
                [
                    fitted_svm(rows[chosen[c]], present[chosen[c], c], cost, self.protocol, seed)
                    for chosen in draws
                ]
                for cost in self.protocol.costs
            ]

        by_class = self._of_classes(of_class, bar, steps=len(draws))
        tested: list[list[Tested]] = []  # by cost, then the draws
        for number, cost in enumerate(self.protocol.costs):
            of_draws = zip(*(by_cost[number] for by_cost in by_class), strict=True)
            costs = dict.fromkeys(names, cost)
            tested.append(
                [t for fitted in of_draws for t in self._tested(name, fitted, costs, views)]
            )
        yield from max(tested, key=_mean_upright)

    def _of_classes(self, work: Callable[[int], Found], bar: Stage, steps: int = 1) -> list[Found]:
        """What some work finds of each class; the solver lets other threads run."""
        found = []
        with expected_warnings(), ThreadPoolExecutor(max(1, self.task.workers)) as pool:
            for result in pool.map(work, range(len(self.task.split.train.class_names))):
                found.append(result)
                bar.advance(steps)
        return found

    def _tested(
        self, name: str, fitted: Sequence[LinearSVC], costs: dict[str, float], views: Views
    ) -> Iterator[Tested]:
        for view, (rows, label_sets) in views.items():
            metrics = label_set_metrics(
                scores_of(fitted, rows), label_sets, self.task.split.train.class_names, RULE
            )
            yield (name, view), {**metrics, "costs": costs}


def _mean_upright(tested: list[Tested]) -> float:
    return float(np.mean([m["mean_ap"] for (_, view), m in tested if view == "upright"]))


def svm_probe(
    task: ProbeTask,
    seeds: Sequence[int],
    name: str,
    layers: tuple[str, ...] | None,
    *,
    on_test: bool = False,
) -> Measured | None:
    """Classifiers by a protocol of SVMs, on the trained and the untrained network.

    None to all processes but the main one.

    Args:
        task: What is probed.
        seeds: See `SvmProbe`.
        name: Of the protocol.
        layers: Of the backbone; by default conv1 to conv5 of AlexNet, else the last.
        on_test: See `SvmProbe`.

    Raises:
        DataError: A class is in all training images, or in none.
        ConfigError: There are too few images for any K; or not enough room.
    """
    protocol, split = svm_protocol(name), task.split
    label_sets = split.train.label_sets
    assert label_sets is not None
    for seed in seeds:
        require_both(label_sets[split.parts(seed)[0]], split.train.class_names)
    shots, left_out = usable_shots(protocol, split, seeds)
    settings = asdict(protocol)
    del settings["shots"]
    if not protocol.shots:
        del settings["draws"], settings["negatives_per_positive"]
    about = protocol_of(
        name,
        split,
        seeds,
        **settings,
        rule=RULE,
        cost_chosen_on="test images" if on_test else "training folds",
    )
    models = {}
    for origin, network in task.networks.items():
        has_convolutions = set(ALEXNET_LAYERS) <= set(network.backbone.layers)
        wanted = layers or (ALEXNET_LAYERS if has_convolutions else None)
        pool = nn.Sequential(MaxPoolTo(protocol.num_features), nn.Flatten())
        models[origin] = NetworkFeatures(network, wanted, pool=pool)
    task.tell_room([*models.values()], seeds, squashed=True)
    require_memory(about["training_images"], models["trained"], task.run.config.data, SVM_COPIES)
    task.extract_together([*models.values()], task.run.config.data, seeds, squashed=True)
    if not task.runtime.is_main:
        return None
    probe = SvmProbe(task, protocol, seeds, shots, on_test)
    scores: dict[ScoreName, list[Metrics]] = {}
    for origin, model in models.items():
        with stage(f"{origin} backbone"):
            scores |= probe.run(model, origin)
    return Measured(about, scores, left_out)


def usable_shots(
    protocol: SvmProtocol, split: LabelledData, seeds: Sequence[int]
) -> tuple[tuple[int, ...], str]:
    """Those K that every class has, whichever the seed, and words on those left out.

    Raises:
        DataError: There are none.
    """
    label_sets, names = split.train.label_sets, split.train.class_names
    assert label_sets is not None
    counts = np.min([class_counts(label_sets[split.parts(seed)[0]]) for seed in seeds], axis=0)
    usable = tuple(k for k in protocol.shots if k <= counts.min())
    if usable == protocol.shots:
        return usable, ""
    name = names[int(counts.argmin())]
    beyond = ", ".join(str(k) for k in protocol.shots if k not in usable)
    return usable, f"K = {beyond}: the class {name!r} is in {counts.min():,} training images"


def low_shot_rows(
    present: Present,
    indices: Numbers,
    shots: int,
    negatives_per_positive: int,
    *,
    seed: int,
    number: int,
) -> list[Numbers]:
    """Draw, for each class, K images with it and some without; a larger K holds a smaller one.

    Args:
        present: (n, C) whether each image has each class.
        indices: (n,) numbers of the images: a draw depends on them, not on their order here.
        shots: K, at most the images of the rarest class.
        negatives_per_positive: Images without the class beside each of K; fewer where there are
            fewer.
        seed: The probe's seed.
        number: Which of the seed's draws.

    Returns:
        Rows for each of the C classes.
    """
    found = []
    for c, column in enumerate(present.T):
        keys = hash64(seed, "low-shot draw", number, c, torch.from_numpy(indices))
        order = keys.argsort().numpy()
        with_it, without = order[column[order]], order[~column[order]]
        found.append(np.concatenate([with_it[:shots], without[: shots * negatives_per_positive]]))
    return found
