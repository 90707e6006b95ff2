"""Options that several commands have, written once; a command's own dataclass derives from them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from quarterturn.config.bounds import (
    Count,
    CountOrZero,
    Fraction,
    ImageCount,
    PositiveFraction,
    Processes,
    White,
)
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.validation import require

MAX_WORKERS = 16
"""Of ``--workers auto``: more processes than this rarely read faster."""

LongTail = Literal["exponential", "step"]


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """By how many processes image files are decoded."""

    workers: Annotated[Processes | Literal["auto"], COMMON] = 2
    """Processes that decode image files; the result does not depend on it. auto: one fewer than the
    processor cores that this process may use, 16 at most."""

    @property
    def num_workers(self) -> int:
        """How many processes decode, each process of a distributed run having its share."""
        if self.workers != "auto":
            return self.workers
        processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        return max(1, min(MAX_WORKERS, usable_cores() // processes - 1))


@dataclass(frozen=True, kw_only=True)
class ComputeOptions(WorkerOptions):
    """On what it is computed."""

    device: Annotated[str, COMMON] = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""


def usable_cores() -> int:
    """Processor cores that this process may use; the machine may have more."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class DownloadOptions:
    """Whether data and weights may be fetched."""

    download: bool = False
    """Fetch a named data set, or timm's weights, that are not there; nothing is downloaded without
    it."""


@dataclass(frozen=True, kw_only=True)
class OverwriteOptions:
    """Whether earlier results may go."""

    overwrite: Annotated[bool, COMMON] = False
    """Replace what an earlier call has written there: a run at --out, or files of the same
    names."""


MAX_PIXELS = 178_956_970
"""Where Pillow refuses an image as a decompression bomb."""


@dataclass(frozen=True, kw_only=True)
class ImageFileOptions:
    """How image files are read, and how many may fail."""

    max_bad_fraction: Fraction = 0.05
    """Stop when more than this fraction of the image files cannot be read."""
    max_pixels: Count = MAX_PIXELS
    """Leave out images with more pixels; by default those that Pillow takes for a bomb."""
    white: White | None = None
    """The value shown as white in 16-bit grey files, such as 4095 for 12 bits; by default the
    highest value of a sample of the files, rounded up to 10, 12, 14 or 16 bits."""

    @property
    def reading(self) -> dict[str, Any]:
        """These options as keywords of `quarterturn.data.sources.open_source`."""
        names = ("max_bad_fraction", "max_pixels", "white")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class RunFileOptions:
    """How image files are read; by default as the run reads them, or the recipe of a demo."""

    max_bad_fraction: Fraction | None = None
    """Stop when more than this fraction of the image files cannot be read; the run's by default."""
    max_pixels: Count | None = None
    """Leave out images with more pixels; by default those that the run leaves out."""
    white: White | None = None
    """The value shown as white in 16-bit grey files; the run's --white by default, or else the
    highest value of a sample of the files, rounded up to 10, 12, 14 or 16 bits."""

    def reading_as(self, run: ImageFileOptions) -> dict[str, Any]:
        """Keywords of `quarterturn.data.sources.open_source`: these options, or else the run's."""
        given = {name: getattr(self, name) for name in run.reading}
        return run.reading | {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Which of the images are used."""

    limit: Annotated[ImageCount | None, COMMON] = None
    """Use at most N images of each split, drawn once by a fixed seed; all by default."""
    long_tail: PositiveFraction | None = None
    """Cut the training images, and no others, to a long tail: the rarest class keeps this fraction
    of the most frequent one's images. Reads labels."""
    long_tail_kind: LongTail = "exponential"
    """How the classes of a long tail thin out: from one to the next, or all of the second half at
    once."""


@dataclass(frozen=True, kw_only=True)
class ClassSizeOptions:
    """Which classes count as many-shot and few-shot (Liu et al. 2019)."""

    many: CountOrZero = 100
    """Classes with more training images than this are counted as many."""
    few: CountOrZero = 20
    """Classes with fewer training images than this are counted as few."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        require(
            self.few <= self.many + 1, "few", self.few, f"0 to one more than --many {self.many}"
        )


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """Which features of the backbone are taken."""

    half: Annotated[Literal["invariant", "rotation", "both", "with-start"] | None, COMMON] = None
    """Part of the features; the invariant half by default. with-start is that half and the feature
    of the weights that the run began with, side by side."""
    layer: str | None = None
    """A named layer in place of the last; maps are averaged over their area."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(OverwriteOptions):
    """What a command that trains takes, beside the settings of its run.

    Attributes:
        groups: The groups of a configuration whose settings it takes, in the order of ``--help``.
    """

    groups: ClassVar[tuple[str, ...]] = ()

    out: Annotated[Path | None, Flag(metavar="RUN", common=True)] = None
    """Run directory; by default runs/<data>-<n>, or runs/<data>-<command>-<n> where it is not
    pretrain."""
    preset: Annotated[str | None, Flag(metavar="NAME", common=True)] = None
    """A recipe by its name; by default one that fits DATA."""


@dataclass(frozen=True, kw_only=True)
class DryRunOptions:
    """Whether a training is only measured."""

    dry_run: bool = False
    """Say what the training would take: images, memory, three timed steps, time, room on the disk;
    and write nothing."""


@dataclass(frozen=True, kw_only=True)
class LabelledTrainingOptions(DryRunOptions, TrainingOptions):
    """What a command takes that learns from labels or boxes."""

    start: Annotated[str | None, Flag(name="from", metavar="RUN|FILE", common=True)] = None
    """Begin with the backbone of a run, of a file that import takes, or timm:NAME (fetched only
    with --download), and see images as it did; from scratch without."""
