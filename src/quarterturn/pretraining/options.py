"""What ``quarterturn pretrain`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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
