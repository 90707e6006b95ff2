"""Learning rates as pure functions of the time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from quarterturn.config import OptimizerConfig


def phases(epochs: int, restarts: Sequence[int] = ()) -> list[range]:
    """The parts of a run that have the whole schedule to themselves, as their epochs.

    Args:
        epochs: Epochs in the whole run.
        restarts: Epochs at which the schedule begins again, ascending (the warm restarts of
            Loshchilov and Hutter, ICLR 2017).
    """
    return [range(*ends) for ends in itertools.pairwise([0, *restarts, epochs])]


def phase_at(epoch: float, epochs: int, restarts: Sequence[int] = ()) -> range:
    """The one of the `phases` that a time is in; the last for the end of the run."""
    return next(p for p in reversed(phases(epochs, restarts)) if epoch >= p.start)


def progress(epoch: float, epochs: int) -> float:
    """The fraction of a schedule that is done, in whole epochs: what milestones are compared with.

    Arguments as for `learning_rate`.
    """
    return math.floor(epoch) / epochs


def first_epoch(start: float, epochs: int) -> int:
    """The first epoch, counted from 0, whose progress has come so far; ``epochs`` if none has."""
    return next(e for e in range(epochs + 1) if e == epochs or progress(e, epochs) >= start)


def learning_rate(epoch: float, epochs: int, settings: OptimizerConfig) -> float:
    """The learning rate at a time, in epochs since the schedule began; 2.5 is amid the third.

    A step schedule's milestones are fractions of all epochs: the factor changes at the first epoch
    with ``epoch / epochs >= milestone``. A cosine schedule falls step by step from the base rate to
    zero at the end (Loshchilov and Hutter, ICLR 2017), after a linear warm-up where one is set.
    Where the noise-aware phase has a rate of its own, the cosine reaches zero at its beginning, and
    falls once more within it.

    Args:
        epoch: From 0 to below ``epochs``.
        epochs: Epochs in the schedule: of the whole run, or of one of its `phases`.
        settings: Base rate and schedule.
    """
    if settings.schedule == "step":
        passed = sum(progress(epoch, epochs) >= milestone for milestone in settings.milestones)
        return settings.learning_rate * settings.factors[passed]
    begin, end, base = round(settings.warmup * epochs), float(epochs), settings.learning_rate
    if epoch < begin:
        return base * (epoch + 1) / (begin + 1)
    if settings.noise_aware_rate is not None:
        late = first_epoch(settings.noise_aware_from, epochs)
        if epoch < late:
            end = late
        else:
            begin, base = late, base * settings.noise_aware_rate
    return base * (1 + math.cos(math.pi * (epoch - begin) / (end - begin))) / 2


def warmup_factor(step: int, settings: OptimizerConfig) -> float:
    """What multiplies the learning rate of a schedule's step, from 0 on: below 1 as it warms up."""
    return min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
