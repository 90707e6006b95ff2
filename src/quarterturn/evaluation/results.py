"""What a probe has found, in plain values: by which protocol, and figures over seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from quarterturn.data.labelled import LabelledSplit
from quarterturn.evaluation import knn, linear
from quarterturn.metrics import mean_and_spread

FORMAT = 1
"""Part of every protocol; raised when the same settings begin to mean other figures."""

MEASURES = (
    "top1", "balanced", "worst_class", "many", "medium", "few",
    "std_over_classes", "std_over_groups",
)  # fmt: skip


def protocol_of(
    split: LabelledSplit, seeds: Sequence[int], *, grid: int, many: int, few: int
) -> dict[str, Any]:
    """All that figures must have in common to stand in one table.

    Which classifiers and layers were asked for is not among it: figures of others may be added.

    Args:
        split: Images and labels.
        seeds: Of turns and held-out parts.
        grid: Squares a side that maps are averaged over.
        many: Classes with more training images are ``many``.
        few: Classes with fewer are ``few``.
    """
    train, held = split.parts(seeds[0])
    return {
        "format": FORMAT,
        "training_fingerprint": split.train.fingerprint(),
        "test_fingerprint": split.tests.fingerprint(),
        "labels_fingerprint": split.labels_fingerprint(),
        "training_images": len(train),
        "test_images": len(held),
        "held_out": split.test is None,
        "seeds": list(seeds),
        "grid": grid,
        "many": many,
        "few": few,
        "knn_temperature": knn.TEMPERATURE,
        "linear_max_iterations": linear.MAX_ITERATIONS,
    }


def protocol_id(protocol: dict[str, Any]) -> str:
    """A short name for a protocol."""
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:8]


def summarise(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean, spread and n over seeds of every measure.

    Args:
        values: For each seed, `quarterturn.metrics.classification_metrics`.
    """
    summary: dict[str, Any] = {"n": len(values), "by_seed": list(values)}
    for measure in MEASURES:
        summary[measure] = mean_and_spread([value[measure] for value in values])
    return summary
