"""Tables of an upright run: what each measure adds, the whole collection, its classes.

Shapes: N images; N' of a variant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quarterturn.data.imageset import ImageSet
from quarterturn.metrics.classification import expected_calibration_error
from quarterturn.orientation.ablation import Variant
from quarterturn.orientation.networks import MOST_IN_FOLD
from quarterturn.orientation.scores import AGNOSTIC, half_turn_scores, probably_turned
from quarterturn.orientation.temperature import rotation_nll
from quarterturn.orientation.upright_table import UprightTable
from quarterturn.pages.tables import Cell, Table

PLAIN = ("mean score", "mean half-turn")


def predicted_turns(variant: Variant) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(4 N',) confidence in the predicted turn of each copy, and whether it is right."""
    right = variant.probabilities.argmax(axis=2) == np.arange(4)
    return variant.probabilities.max(axis=2).ravel(), right.ravel()


def measure_variant(variant: Variant) -> dict[str, float]:
    """How well the turns of a variant's images are predicted."""
    confidences, right = predicted_turns(variant)
    return {
        "images": len(variant.numbers),
        "rotation_accuracy": float(right.mean()),
        "nll": rotation_nll(torch.from_numpy(variant.probabilities)),
        "calibration_error": expected_calibration_error(confidences, right),
        "agnostic": float(variant.agnostic.mean()),
    }


def measures_table(variants: Sequence[Variant]) -> Table:
    """What each measure adds out of fold, and how much better images in fold seem.

    Args:
        variants: See `quarterturn.orientation.ablation.list_variants`.
    """
    rows: list[list[Cell]] = [
        [variant.name + (" (in use)" if variant.in_use else ""), *measure_variant(variant).values()]
        for variant in variants
    ]
    return Table(
        "What each measure adds",
        [
            "measure",
            "images",
            "rotation accuracy",
            "nll (nats)",
            "calibration error",
            "mean score",
        ],
        rows,
        note=(
            "each row adds to those above it; four copies of every image, out of fold; guessing "
            "gives 25 % and 1.386 nats; in use is what tells the turns of the validation images "
            f"best. The last two rows are of the same images, at most {MOST_IN_FOLD:,} a network, "
            "by their centre crop and at the temperature: they differ by the optimism that "
            "cross-fitting removes"
        ),
        plain=("nll (nats)", "mean score"),
    )


def collection_scores(table: UprightTable) -> dict[str, Any]:
    """Figures of a whole collection, over the images that could be read.

    Returns:
        ``images``, ``unreadable``, ``threshold`` of the agnostic score, ``agnostic_share`` at it or
        above, ``agnostic`` and ``half_turn`` as means, and ``turn_to_upright``: the images that are
        probably stored turned, by the degrees, counter-clockwise, that bring them upright.
    """
    agnostic, p_upright = table.agnostic[table.scored], table.p_upright[table.scored]
    turns = np.bincount(probably_turned(p_upright), minlength=4).tolist()
    return {
        "images": len(agnostic),
        "unreadable": len(table) - len(agnostic),
        "threshold": AGNOSTIC,
        "agnostic_share": float((agnostic >= AGNOSTIC).mean()),
        "agnostic": float(agnostic.mean()),
        "half_turn": float(half_turn_scores(p_upright).mean()),
        "turn_to_upright": {str(90 * k): turns[k] for k in (1, 2, 3)},
    }


def collection_table(scores: dict[str, Any]) -> Table:
    """`collection_scores` in a row."""
    turned = scores["turn_to_upright"]
    return Table(
        "The collection",
        ["images", "no clear up", *PLAIN, *(f"upright after {degrees}°" for degrees in turned)],
        [
            [
                scores["images"],
                scores["agnostic_share"],
                scores["agnostic"],
                scores["half_turn"],
                *turned.values(),
            ]
        ],
        note=f"{_NO_CLEAR_UP}; the last three columns count the images that are probably stored "
        "turned, by the turn, counter-clockwise, that brings them upright"
        + (f"; {scores['unreadable']:,} could not be read" if scores["unreadable"] else ""),
        plain=PLAIN,
    )


def classes_table(images: ImageSet, table: UprightTable) -> Table | None:
    """Means of each class, the most agnostic first; None without labels."""
    if images.labels is None:
        return None
    labels, agnostic = images.labels[table.scored], table.agnostic[table.scored]
    p_upright = table.p_upright[table.scored]
    half_turn, turned = half_turn_scores(p_upright), probably_turned(p_upright) > 0
    means = {c: float(agnostic[labels == c].mean()) for c in np.unique(labels).tolist()}
    rows: list[list[Cell]] = []
    for c in sorted(means, key=means.__getitem__, reverse=True):
        of_class = labels == c
        rows.append(
            [
                images.class_names[c],
                int(of_class.sum()),
                float((agnostic[of_class] >= AGNOSTIC).mean()),
                means[c],
                float(half_turn[of_class].mean()),
                int(turned[of_class].sum()),
            ]
        )
    return Table(
        "Classes, those with the least clear up first",
        ["class", "images", "no clear up", *PLAIN, "probably turned"],
        rows,
        note=f"{_NO_CLEAR_UP}; labels are read only for these means",
        plain=PLAIN,
    )


_NO_CLEAR_UP = f"no clear up: the share of the images with a score of {AGNOSTIC} or more"
