"""What ``quarterturn pretrain`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from quarterturn.config.options import Flag
from quarterturn.config.shared import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(TrainingOptions):
    """Learn a representation from unlabelled images."""

    groups: ClassVar[tuple[str, ...]] = (
        "data",
        "model",
        "method",
        "run",
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
