"""What ``quarterturn finetune`` and ``quarterturn predict`` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from quarterturn.config.bounds import Count, CountOrZero, Fraction, PositiveOrZero, Repetitions
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import (
    ComputeOptions,
    LabelledTrainingOptions,
    OverwriteOptions,
    RunFileOptions,
)


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(LabelledTrainingOptions):
    """Learn a classifier from labelled images, from a run's backbone or from scratch."""

    groups: ClassVar[tuple[str, ...]] = (
        "data",
        "model",
        "method",
        "run",
        "optimizer",
        "machine",
        "balance",
    )

    seeds: Annotated[Repetitions, COMMON] = 1
    """Number of trainings, from --seed on, each in a folder seed-<n> of the run directory; the
    table then has their mean and spread."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions(OverwriteOptions, RunFileOptions, ComputeOptions):
    """Label images by a classifier of finetune, or find objects by a detector of detect."""

    out: Annotated[Path, Flag(metavar="FILE", common=True)]
    """A file ending in .csv; of a detector, COCO's .json and a folder of pictures are beside it."""
    top_k: Annotated[Count, COMMON] = 3
    """Number of most probable classes to write."""
    threshold: Annotated[Fraction, COMMON] = 0.5
    """Of a detector: write objects from this score on."""
    draw: CountOrZero = 20
    """Of a detector: draw the first N images with their objects; 0 for none."""
    post_hoc_adjustment: PositiveOrZero | None = None
    """Subtract N times the log class frequencies from the logits; 1 for a run of cross-entropy, by
    default what the run was made with."""
