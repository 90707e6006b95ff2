"""What ``quarterturn pretrain`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from quarterturn.config.bounds import Repetitions
from quarterturn.config.options import Flag
from quarterturn.config.shared import DryRunOptions, TrainingOptions
from quarterturn.config.time_budget import check_budget


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(DryRunOptions, TrainingOptions):
    """Learn a representation from unlabelled images."""

    groups: ClassVar[tuple[str, ...]] = (
        "data",
        "model",
        "method",
        "run",
        "learning_curve",
        "optimizer",
        "machine",
        "noise_aware",
        "upright",
        "imbalance",
        "balance",
    )

    start: Annotated[str | None, Flag(name="from", metavar="RUN|FILE", common=True)] = None
    """Begin with these weights: of a run, of a file that import takes, or timm:NAME."""
    pretrained: bool = False
    """Begin with timm's own weights of --backbone timm:NAME, as --from timm:NAME does; from its
    cache, unless --download is given."""
    cache: Annotated[str | None, Flag(metavar="auto|CACHE")] = None
    """Decode DATA once into a cache, or take the one that is there, and train from it: a folder, or
    auto for one in the user's cache directory. The run's DATA is then the cache."""
    budget: Annotated[str | None, Flag(metavar="TIME", common=True)] = None
    """Train for as many epochs as fit into this time, such as 30m or 2h, of which twenty steps are
    timed first; none for the recipe's epochs, however long; auto for those, but on a processor for
    as many as fit into an hour. auto is the default for photos without --epochs or --preset. The
    networks that --upright auto trains first come on top of this time."""
    seeds: Repetitions = 1
    """Number of trainings, from --seed on, each in a folder seed-<n> of the run directory; --budget
    is for all of them, in equal parts."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        if self.budget is not None:
            check_budget(self.budget)
