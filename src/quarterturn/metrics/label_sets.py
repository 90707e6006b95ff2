"""Metrics of classifiers of images with several labels each.

Shapes: n images; C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.metrics.average_precision import Rule, average_precision


def label_set_metrics(
    scores: NDArray[np.floating[Any]],
    label_sets: NDArray[np.integer[Any]],
    class_names: list[str],
    rule: Rule = "step",
) -> dict[str, Any]:
    """Mean average precision and that of each class, with the prevalence, its chance.

    Args:
        scores: (n, C) the higher, the more probably present.
        label_sets: (n, C): 1 present, 0 absent, -1 ignored.
        class_names: (C,) names.
        rule: Of `quarterturn.average_precision`.

    Returns:
        ``{"mean_ap", "worst_class", "worst_class_name", "per_class", "prevalence", "rule", "n"}``:
        figures over the classes that have a present image, None without one; ``per_class`` has
        None for a class without one.
    """
    by_class: dict[str, float | None] = {}
    prevalence: dict[str, float] = {}
    for name, column, entries in zip(class_names, scores.T, label_sets.T, strict=True):
        counted = entries >= 0
        present = entries[counted] == 1
        prevalence[name] = float(present.mean()) if len(present) else 0.0
        by_class[name] = (
            average_precision(column, entries, ~counted, rule) if present.any() else None
        )
    known = {name: value for name, value in by_class.items() if value is not None}
    worst = min(known, key=known.__getitem__, default="")
    return {
        "mean_ap": float(np.mean([*known.values()])) if known else None,
        "worst_class": known.get(worst),
        "worst_class_name": worst,
        "per_class": by_class,
        "prevalence": prevalence,
        "rule": rule,
        "n": len(scores),
    }
