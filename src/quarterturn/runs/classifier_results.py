"""The result of a classifier's test in a run directory, checked: tables are made of its figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from quarterturn.errors import CheckpointError
from quarterturn.metrics.average_precision import Rule
from quarterturn.runs.record_files import read_record
from quarterturn.runs.records import Statistic, measures_in
from quarterturn.runs.seeds import RESULTS

AP_RULES = get_args(Rule)


@dataclass(frozen=True)
class BestEpoch:
    """The best epoch by top-1 on the test images themselves, as older protocols report it.

    Attributes:
        epoch: Which one.
        evaluated_epochs: How many it was chosen from.
        figures: Its metrics.
    """

    epoch: int
    evaluated_epochs: int
    figures: dict[str, Any]


@dataclass(frozen=True)
class Solution:
    """A classifier that was solved exactly, rather than trained.

    Attributes:
        strength: C of the logistic regression, the inverse of the penalty's strength.
        images: Training images that could be read.
        is_chosen: Whether C was chosen; one regression for each class has a fixed one.
    """

    strength: float
    images: int
    is_chosen: bool = True

    @property
    def regression(self) -> str:
        """What was solved, in words."""
        chosen = "chosen among them" if self.is_chosen else "for each class"
        return f"of {self.images:,} labelled images, with C {self.strength:g} {chosen}"


@dataclass(frozen=True)
class ClassifierResult:
    """A classifier's test, as it is stored in ``RUN/results.json``.

    Attributes:
        epoch: The epoch that was tested, the last.
        figures: Those of `quarterturn.classifying.evaluation.classifier_metrics`: its metrics,
            accuracy by class and the confusion matrix, row by true class.
        class_counts: (C,) training images of each class.
        many: Classes with more training images are ``many``.
        few: Classes with fewer are ``few``.
        test: In words, where the test images are from.
        protocol: What figures must have in common to compare; None in files of early versions.
        best_epoch: Of the protocol ``paper`` only.
        test_images_learned_from: Test images that the run that the training started from has been
            trained on; None if not known, 0 from scratch.
        test_images_learned_with_labels: Those of them whose label was read; None if not known.
        solution: How the classifier was solved; None where it was trained.
        warnings: Why its figures are not to be trusted, a sentence each.
    """

    epoch: int
    figures: dict[str, Any]
    class_counts: tuple[int, ...]
    many: int
    few: int
    test: str
    protocol: dict[str, Any] | None = None
    best_epoch: BestEpoch | None = None
    test_images_learned_from: int | None = 0
    test_images_learned_with_labels: int | None = 0
    solution: Solution | None = None
    warnings: tuple[str, ...] = ()

    @property
    def class_names(self) -> list[str]:
        """The C classes."""
        return list(self.figures["per_class"])


@dataclass(frozen=True)
class SeedsSummary:
    """Several trainings of a classifier, as stored in the ``results.json`` beside them.

    Attributes:
        seeds: Their seeds.
        figures: Measure to statistic over the trainings.
        tested: Test images of each.
        many: Classes with more training images are ``many``.
        few: Classes with fewer are ``few``.
        test: In words, where the test images are from.
        best_epoch: Of the protocol ``paper`` only: measure to statistic, and from how many epochs.
        is_solved: Whether they were solved exactly, rather than trained.
    """

    seeds: tuple[int, ...]
    figures: dict[str, Statistic]
    tested: tuple[int, ...]
    many: int
    few: int
    test: str
    best_epoch: BestEpochs | None = None
    is_solved: bool = False


@dataclass(frozen=True)
class BestEpochs:
    """The best epochs of several trainings; see `BestEpoch`.

    Attributes:
        epochs: One for each training.
        evaluated_epochs: How many each was chosen from.
        figures: Measure to statistic over the trainings.
    """

    epochs: tuple[int, ...]
    evaluated_epochs: int
    figures: dict[str, Statistic] = field(default_factory=dict)


def read_classifier_result(run: Path) -> ClassifierResult:
    """The result in ``RUN/results.json``.

    Raises:
        FileNotFoundError: The run has none.
        CheckpointError: It is damaged, or lacks a figure.
    """
    result = read_record(run / RESULTS, ClassifierResult)
    if wrong := _damage(result.figures):
        raise CheckpointError(f"{run / RESULTS} is damaged: {wrong}")
    return result


def _damage(figures: dict[str, Any]) -> str | None:
    """What is wrong with the figures of a test; None for nothing."""
    if wrong := _not_accuracies(figures, measures_in(figures)):
        return wrong
    by_class, rows = figures.get("per_class"), figures.get("confusion")
    if not isinstance(by_class, dict):
        return "there is no accuracy per_class"
    if wrong := _not_accuracies(by_class, by_class):
        return wrong
    if not isinstance(figures.get("n"), int):
        return f"n is {figures.get('n')!r}; expected the number of test images"
    if "mean_ap" in figures:
        return _damage_of_label_sets(figures, by_class)
    is_table = isinstance(rows, list) and len(rows) == len(by_class)
    if not is_table or not all(_is_row(row, len(by_class)) for row in rows or ()):
        return "confusion is no square table of counts"
    return None


def _damage_of_label_sets(figures: dict[str, Any], by_class: dict[str, Any]) -> str | None:
    prevalence = figures.get("prevalence")
    if not isinstance(prevalence, dict) or prevalence.keys() != by_class.keys():
        return "there is no prevalence of each class"
    if wrong := _not_accuracies(prevalence, prevalence):
        return wrong
    return None if figures.get("rule") in AP_RULES else f"rule is {figures.get('rule')!r}"


def _not_accuracies(figures: dict[str, Any], names: Iterable[str]) -> str | None:
    for name in names:
        if name not in figures:
            return f"there is no {name}"
        if not isinstance(figures[name], int | float | NoneType):
            return f"{name} is {figures[name]!r}; expected a number"
    return None


def _is_row(row: object, length: int) -> bool:
    return isinstance(row, list) and len(row) == length and all(isinstance(n, int) for n in row)
