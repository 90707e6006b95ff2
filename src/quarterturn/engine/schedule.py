"""Learning rates as pure functions of the epoch."""

from __future__ import annotations

import math

from quarterturn.config import OptimizerConfig


def learning_rate(epoch: int, epochs: int, settings: OptimizerConfig) -> float:
    """The learning rate of an epoch, counted from 0.

    A step schedule's milestones are fractions of all epochs: the factor changes at the first epoch
    with ``epoch / epochs >= milestone``. A cosine schedule falls from the base rate at the first
    epoch towards zero after the last (Loshchilov and Hutter, ICLR 2017), after a linear warm-up
    where one is set.

    Args:
        epoch: 0..epochs-1.
        epochs: Epochs in the whole run.
        settings: Base rate and schedule.
    """
    if settings.schedule == "step":
        passed = sum(epoch / epochs >= milestone for milestone in settings.milestones)
        return settings.learning_rate * settings.factors[passed]
    warmup = round(settings.warmup * epochs)
    if epoch < warmup:
        return settings.learning_rate * (epoch + 1) / (warmup + 1)
    progress = (epoch - warmup) / (epochs - warmup)
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2
