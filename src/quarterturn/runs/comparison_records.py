"""What was measured over several runs, as typed records: groups, their scores, and comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GroupStatistic:
    """A figure over runs that differ only in their seed.

    Attributes:
        mean: None where a run has no figure.
        spread: Standard deviation, with n - 1; None for a single run.
        by_seed: The run's seed to its own mean over the repeats of the probe.
    """

    mean: float | None
    spread: float | None
    by_seed: dict[int, float | None]

    @property
    def n(self) -> int:
        """Runs."""
        return len(self.by_seed)


@dataclass(frozen=True)
class GroupScore:
    """The score of a group of runs under one protocol.

    Attributes:
        group: The group's label.
        protocol: The protocol's short hash.
        part: See `ScoreName`, as for the next two.
        classifier: See there.
        view: See there.
        measures: `MEASURES` over the runs.
    """

    group: str
    protocol: str
    part: str
    classifier: str
    view: str
    measures: dict[str, GroupStatistic]


@dataclass(frozen=True)
class PairedDifference:
    """How much better a group is than another one, over the seeds that both have.

    Attributes:
        group: The group's label.
        part: Of its features.
        against: The other group's label.
        against_part: Of the other's features.
        protocol: The protocol's short hash.
        classifier: See `ScoreName`, as for the next.
        view: See there.
        measure: Which of the `MEASURES`.
        mean: Of the differences, as a fraction.
        low: Lower end of the mean's 95 % confidence interval; None for a single seed.
        high: Its upper end.
        by_seed: Seed to difference.
    """

    group: str
    part: str
    against: str
    against_part: str
    protocol: str
    classifier: str
    view: str
    measure: str
    mean: float
    low: float | None
    high: float | None
    by_seed: dict[int, float]


@dataclass(frozen=True)
class ComparedGroup:
    """Runs that differ only in their seed.

    Attributes:
        label: What sets them apart from other groups.
        origin: Whose features count: ``trained`` or ``untrained``.
        runs: The run directories.
    """

    label: str
    origin: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, as ``quarterturn compare`` stores them.

    Attributes:
        groups: The groups.
        protocols: Short hash to protocol.
        scores: Of every group under every protocol.
        differences: Of every group to the first, by the measure that was shown.
    """

    groups: tuple[ComparedGroup, ...]
    protocols: dict[str, dict[str, Any]]
    scores: tuple[GroupScore, ...]
    differences: tuple[PairedDifference, ...] = ()

    def of(self, group: str, protocol: str) -> list[GroupScore]:
        """The scores of one group under one protocol."""
        return [s for s in self.scores if (s.group, s.protocol) == (group, protocol)]
