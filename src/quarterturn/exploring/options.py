"""What ``quarterturn explore`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from quarterturn.config.bounds import ClassCount, CountOrZero, Seed
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import (
    ComputeOptions,
    DownloadOptions,
    OverwriteOptions,
    RunFileOptions,
)


@dataclass(frozen=True, kw_only=True)
class ExploreOptions(OverwriteOptions, RunFileOptions, ComputeOptions, DownloadOptions):
    """Show what is in a folder: a map, clusters, duplicates, turned photos and odd ones out."""

    out: Annotated[Path | None, Flag(metavar="DIR", common=True)] = None
    """For PHOTOS the run directory of the training, runs/<data>-explore-<n> by default; for a run
    the folder of the results, which is the run by default."""
    data: Annotated[str | None, Flag(metavar="DATA", common=True)] = None
    """Images for a run or weights to look at; by default all of the run's DATA."""
    start: Annotated[str | None, Flag(name="from", metavar="RUN|FILE", common=True)] = None
    """Learn PHOTOS by distillation from these weights: of a run, of a file that import takes, or
    timm:NAME. To take their features as they are: explore FILE --data PHOTOS."""
    epochs: Annotated[CountOrZero | None, COMMON] = None
    """Of the training on PHOTOS; by default about five minutes on two cores, or eight epochs
    with --from."""
    clusters: Annotated[ClassCount | None, COMMON] = None
    """Number of clusters; by default the one between 4 and 40 whose clusters are most distinct."""
    seed: Annotated[Seed, COMMON] = 0
    """Of the training, the map and the clusters."""
