"""The result of a classifier's test in a run directory, checked: tables are made of its figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from quarterturn.errors import CheckpointError
from quarterturn.metrics.average_precision import Rule
from quarterturn.runs.record_files import read_record
from quarterturn.runs.records import ClassifierResult, measures_in
from quarterturn.runs.seeds import RESULTS

AP_RULES = get_args(Rule)


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
