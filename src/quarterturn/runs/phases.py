"""The phases of a run: how it was lengthened, and which lengthened run carries on from which.

A run is lengthened by more ``--epochs``. Where something of its schedule was made for the epochs
it had, that schedule has to begin again, by ``--restarts``; else the run is the one that would have
had all the epochs from the beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.configuration import Config


@dataclass(frozen=True)
class Phase:
    """Epochs by which a run was lengthened.

    Attributes:
        from_epoch: The first of them, counted from 0.
        epochs: Their number.
        schedule: What the learning rate does in them, in words.
        begun: When they were asked for, with the time zone.
    """

    from_epoch: int
    epochs: int
    schedule: str
    begun: str


def made_for_its_length(config: Config) -> str:
    """What of a schedule depends on the number of epochs, in words; empty for nothing."""
    optimizer, balance, imbalance = config.optimizer, config.balance, config.imbalance
    if isinstance(config.method, ClassifierOptions):
        is_late = config.method.reweight == "drw"
    else:
        is_late = imbalance.balances_rotation or imbalance.balance_semantic
    parts = {
        "the cosine schedule": optimizer.schedule == "cosine",
        "the schedule's milestones": optimizer.schedule == "step" and bool(optimizer.milestones),
        "the noise-aware phase": config.noise_aware.upright != "none",
        "--reweight-from": is_late and balance.reweight_from_epoch is None,
    }
    return ", ".join(words for words, depends in parts.items() if depends)


def schedule_words(config: Config) -> str:
    """The learning rate's schedule: ``cosine``, ``step``, or ``constant`` for one without steps."""
    is_constant = config.optimizer.schedule == "step" and not config.optimizer.milestones
    return "constant" if is_constant else config.optimizer.schedule


def carries_on(before: Config, after: Config) -> bool:
    """Whether a training by some settings is the beginning of one by others with more epochs.

    Only epochs and restarts are looked at.

    Args:
        before: The settings that it was trained by.
        after: Those with more epochs.
    """
    had, restarts = before.run.epochs, after.optimizer.restarts
    new = restarts[len(before.optimizer.restarts) :]
    return (
        0 < had < after.run.epochs
        and restarts[: len(before.optimizer.restarts)] == before.optimizer.restarts
        and all(epoch >= had for epoch in new)
        and (new[:1] == (had,) or not made_for_its_length(before))
    )


def phase_rows(config: Config, phases: Sequence[Phase]) -> list[tuple[str, str, str]]:
    """Epochs, schedule and date of each phase of a run; none for a run in one.

    Args:
        config: All settings.
        phases: Those by which it was lengthened.
    """
    added = {phase.from_epoch: phase for phase in phases}
    starts = sorted({0, *config.optimizer.restarts, *added})
    if len(starts) == 1:
        return []
    rows = []
    for start, end in zip(starts, [*starts[1:], config.run.epochs], strict=True):
        schedule = schedule_words(config)
        schedule += ", begun again" if start in config.optimizer.restarts else ""
        phase = added.get(start)
        schedule, begun = (phase.schedule, phase.begun) if phase else (schedule, "")
        rows.append((f"{start + 1} to {end}", schedule, begun))
    return rows


def in_phases(config: Config, phases: Sequence[Phase]) -> str:
    """The phases in brackets: `` (1 to 10, constant; 11 to 20, constant, continued)``."""
    rows = phase_rows(config, phases)
    words = [f"{epochs}, {schedule}" for epochs, schedule, _ in rows]
    return f" ({'; '.join(words)})" if rows else ""
