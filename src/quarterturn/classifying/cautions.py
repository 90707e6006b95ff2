"""What to know before trusting a classifier: too few steps, or a test no better than guessing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from quarterturn.metrics.classification import guessing_accuracy
from quarterturn.pages.tables import percent
from quarterturn.wording import counted

FEWEST_STEPS = 300
"""Of a training; with fewer, a classifier ends near where it began."""
STANDARD_ERRORS = 2.0
"""By which the accuracy has to exceed that of guessing."""


def too_few_steps(epochs: int, steps_per_epoch: int, *, is_frozen: bool = False) -> str:
    """That a training is too short to learn from, and what to do; empty where it is not.

    Args:
        epochs: Of the training; 0 trains nothing, which is no mistake.
        steps_per_epoch: Batches in an epoch.
        is_frozen: Whether nothing of the backbone is trained.
    """
    steps = epochs * steps_per_epoch
    if not 0 < steps < FEWEST_STEPS:
        return ""
    enough = math.ceil(FEWEST_STEPS / steps_per_epoch)
    exact = "; or --solver exact, which needs no epochs" if is_frozen else ""
    return (
        f"{counted(epochs, 'epoch')} of {counted(steps_per_epoch, 'step')} are too short a "
        f"training to learn from: expected {FEWEST_STEPS} steps or more. Give "
        f"--epochs {enough:,}{exact}"
    )


def near_chance(figures: Mapping[str, Any]) -> str:
    """That a test cannot tell a classifier from guessing; empty where it can.

    Guessing is to draw each prediction without looking at the image, each class as often as the
    classifier predicts it. Images with several labels are not judged: what guessing gives in mean
    average precision depends on few images of rare classes too much for a plain rule.

    Args:
        figures: Those of `quarterturn.classifying.evaluation.classifier_metrics`.
    """
    if "confusion" not in figures or not figures["n"]:
        return ""
    guessed = guessing_accuracy(np.array(figures["confusion"]))
    margin = STANDARD_ERRORS * math.sqrt(guessed * (1 - guessed) / figures["n"])
    if figures["top1"] > guessed + margin:
        return ""
    top1, guessing, error = (percent(share) for share in (figures["top1"], guessed, margin))
    return (
        f"the test accuracy, {top1}, is no better than guessing: predicting each class as often "
        f"without looking gives {guessing}, and two standard errors on {figures['n']:,} test "
        f"images are {error}. Do not rely on its predictions; give it more labels, more epochs, or "
        "other weights to begin with"
    )
