"""Trained classifiers tested again, on the images of their training's test or on other data."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from quarterturn.data.class_matching import keep_known_classes, unknown_classes
from quarterturn.data.labelled import LabelledData
from quarterturn.data.small_images import smaller_than_crop, warn_small
from quarterturn.errors import ConfigError, DataError
from quarterturn.methods.configuration import Config
from quarterturn.methods.probe_heads_options import ProbeHeadsOptions
from quarterturn.probing.kept_classifiers import (
    OF_THE_TEST,
    ClassifierSet,
    ClassifierStore,
    KeptClassifier,
    classifier_set,
    labels_hash,
)
from quarterturn.probing.kinds import Measured, ProbeTask
from quarterturn.probing.trained_heads import HeadsProbe, heads_protocol
from quarterturn.progress import stage


def evaluate_kept(
    task: ProbeTask,
    name: str,
    recipe: Config,
    given: dict[str, Any],
    *,
    seeds: Sequence[int] | None = None,
    layers: tuple[str, ...] | None = None,
    other_training_data: bool = False,
) -> tuple[Measured, LabelledData]:
    """Test the classifiers that an earlier probe has trained and kept.

    Where the training images are those that they have learned from, the test is that of the
    training again, to the same figures. Else the images are other data: its test part, or all of
    it, with classes matched by name.

    Args:
        task: What is probed, with DATA as its images.
        name: Of the protocol.
        recipe: Its settings.
        given: Those that the user has chosen; classifiers trained by others do not count.
        seeds: Of the trainings; by default all that are kept.
        layers: By default all whose classifiers are kept.
        other_training_data: Whether DATA to learn from was given beside DATA: then it has to be
            what the classifiers have learned from.

    Returns:
        The figures, and the images that they are of.

    Raises:
        ConfigError: No such classifier is kept; says which are.
        DataError: DATA has classes that the classifiers do not know, or images that they were
            trained with.
        CheckpointError: A file is damaged.
    """
    split, rules, store = task.split, task.rules, ClassifierStore(task.run)
    protocol = heads_protocol(name, split, [0], recipe, **rules)
    here = classifier_set(name, task.trained_on, task.weights, split, protocol)
    of = _kept_set(store, here, given, must_match=other_training_data)
    if of.learned_from != here.learned_from:
        split = _as_tests(split, of, task.data)
        store.refuse_known(of, split.tests, task.data)
        protocol = heads_protocol(name, split, [0], recipe, **rules)
        labels = f"{of.learned_by['training_labels']} {labels_hash(split.tests)}"
        protocol["labels_fingerprint"] = hashlib.sha256(labels.encode()).hexdigest()[:16]
    recipe = recipe.with_settings(augment=of.protocol["augment"])
    recipe.check()
    chosen = _chosen(of, task, recipe, seeds, layers)
    of_the_test = {key: protocol[key] for key in OF_THE_TEST}
    numbers = sorted({each.seed for each in chosen})
    protocol = {**of.protocol, **of_the_test, "seeds": numbers}
    scores: dict[Any, list[dict[str, Any]]] = {}
    settings = recipe.method_as(ProbeHeadsOptions)

    def load(kept: KeptClassifier) -> nn.Module:
        return store.load(of, kept, settings)

    groups = itertools.groupby(chosen, lambda each: (each.origin, each.classifier, each.seed))
    for (origin, _, _), group in groups:
        kept = list(group)
        parts = [each.part for each in kept]
        heads = HeadsProbe(
            split,
            recipe.with_settings(layers=_layers_of(task, parts)),
            task.runtime.without_others(),
            folder=store.folder,
            store=task.store,
            **rules,
        )
        with stage(f"{origin} backbone", total=0.2):
            heads.test_again(task.networks[origin], kept, load, scores)
    warn_small(split.tests, smaller_than_crop(split.tests, recipe.data), recipe.data)
    return Measured(protocol, scores), split


def _kept_set(
    store: ClassifierStore, here: ClassifierSet, given: dict[str, Any], *, must_match: bool
) -> ClassifierSet:
    """The classifiers that were trained last: on the same images, or else on others.

    Args:
        store: The run's classifiers.
        here: What would be trained now; still empty.
        given: Settings of the training that have to be the same.
        must_match: Whether the images have to be the same.

    Raises:
        ConfigError: None are kept.
    """
    kept = store.all()
    of_preset = [each for each in kept if each.preset == here.preset]
    of_weights = [each for each in of_preset if each.weights == here.weights]
    alike = [e for e in of_weights if all(e.protocol[k] == v for k, v in given.items())]
    same_images = [each for each in alike if each.learned_from == here.learned_from]
    if same_images or (alike and not must_match):
        return (same_images or alike)[-1]
    if alike:
        why = f"none that have learned from {here.data}, as these options have it, are kept"
    elif of_weights:
        why = f"none with {', '.join(f'{k} {v}' for k, v in given.items())} are kept"
    elif of_preset:
        why = "those that are kept are for weights that the run no longer has"
    else:
        why = f"none of {here.preset} are kept"
    raise ConfigError(
        f"--evaluate-only tests trained classifiers again, and {why} ({store.describe(kept)}). "
        "Probe without it to train them"
    )


def _as_tests(split: LabelledData, of: ClassifierSet, data: str) -> LabelledData:
    """Other data to test on: its test part, or else all of it, under the classifiers' classes."""
    known = split.tests.subset(np.arange(0))
    known.class_names = list(of.class_names)
    if unknown := unknown_classes(split.tests, known):
        raise DataError(
            f"{data} has classes that the classifiers have not learned: "
            f"{', '.join(unknown[:10])}. They know {', '.join(of.class_names[:10])}"
            f"{' ...' if len(of.class_names) > 10 else ''}; expected test images of these, by name"
        )
    tests = keep_known_classes(split.tests, known)
    description = f"all of {data}" if split.test is None else split.description
    words = f"{description}; classifiers that have learned from {of.data}"
    return replace(split, train=tests, test=tests, description=words, long_tail=None)


def _chosen(
    of: ClassifierSet,
    task: ProbeTask,
    recipe: Config,
    seeds: Sequence[int] | None,
    layers: tuple[str, ...] | None,
) -> list[KeptClassifier]:
    """Those that are asked for, in the order of their tests.

    Raises:
        ConfigError: One of them is not kept.
    """
    found = [each for each in of.classifiers if each.origin in task.networks]
    if images_per_class := recipe.method_as(ProbeHeadsOptions).images_per_class:
        # A preset names more than small data has had enough images for.
        found = [each for each in found if _images_of(each) in images_per_class]
    found = _asked_for("--seed", seeds, lambda each: each.seed, found)
    found = _asked_for("--layers", layers, lambda each: _layers_of(task, [each.part])[0], found)
    if not found:
        raise ConfigError(
            f"no such classifier on features of the {' or '.join(task.networks)} network is kept. "
            "Probe without --evaluate-only to train it"
        )
    by_key = {origin: number for number, origin in enumerate(task.networks)}
    numbers = {name: n for n, name in enumerate(dict.fromkeys(c.classifier for c in found))}
    return sorted(found, key=lambda c: (by_key[c.origin], c.seed, numbers[c.classifier]))


def _asked_for(
    flag: str,
    wanted: Sequence[Any] | None,
    value: Callable[[KeptClassifier], Any],
    found: list[KeptClassifier],
) -> list[KeptClassifier]:
    """Those of some classifiers that an option asks for; all where it is not given."""
    if wanted is None:
        return found
    there = sorted({value(each) for each in found})
    if lacking := [each for each in wanted if each not in there]:
        lacking_words, kept_words = (" ".join(map(str, each)) for each in (lacking, there))
        raise ConfigError(
            f"{flag} {lacking_words}: no such classifier is kept (kept: {kept_words}). Probe "
            "without --evaluate-only to train it"
        )
    return [each for each in found if value(each) in wanted]


def _images_of(kept: KeptClassifier) -> int | None:
    """Images of each class that a classifier was to learn from; None for all."""
    _, _, number = kept.classifier.rpartition("-")
    return int(number) if number.isdecimal() else None


def _layers_of(task: ProbeTask, parts: Sequence[str]) -> tuple[str, ...]:
    """The layers of the backbone that parts of the features are of."""
    offered = task.networks["trained"].backbone.layers
    return tuple(dict.fromkeys(part if part in offered else offered[-1] for part in parts))
