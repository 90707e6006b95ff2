"""Learning rates as pure functions of the time."""

from __future__ import annotations

import math

from quarterturn.config import OptimizerConfig


def learning_rate(epoch: float, epochs: int, settings: OptimizerConfig) -> float:
    """The learning rate at a time, in epochs since the beginning; 2.5 is amid the third.

    A step schedule's milestones are fractions of all epochs: the factor changes at the first epoch
    with ``epoch / epochs >= milestone``. A cosine schedule falls step by step from the base rate to
    zero at the end (Loshchilov and Hutter, ICLR 2017), after a linear warm-up where one is set.

    Args:
        epoch: From 0 to below ``epochs``.
        epochs: Epochs in the whole run.
        settings: Base rate and schedule.
    """
    if settings.schedule == "step":
        passed = sum(math.floor(epoch) / epochs >= milestone for milestone in settings.milestones)
        return settings.learning_rate * settings.factors[passed]
    warmup = round(settings.warmup * epochs)
    if epoch < warmup:
        return settings.learning_rate * (epoch + 1) / (warmup + 1)
    progress = (epoch - warmup) / (epochs - warmup)
    return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2
