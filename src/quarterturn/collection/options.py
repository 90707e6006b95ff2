"""What ``quarterturn embed`` and ``quarterturn neighbors`` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from quarterturn.config.bounds import Count
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import (
    ComputeOptions,
    FeatureOptions,
    OverwriteOptions,
    RunFileOptions,
)


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(FeatureOptions, OverwriteOptions, RunFileOptions, ComputeOptions):
    """Write the features of every image to a file."""

    out: Annotated[Path, Flag(metavar="FILE", common=True)]
    """A file ending in .npz or .csv."""


@dataclass(frozen=True, kw_only=True)
class NeighborsOptions(FeatureOptions, OverwriteOptions, RunFileOptions, ComputeOptions):
    """Find the images of a collection that are most like one image."""

    data: Annotated[str | None, Flag(metavar="DATA", common=True)] = None
    """The collection to search; by default all of the run's DATA."""
    k: Annotated[Count, COMMON] = 10
    """Number of neighbours."""
    out: Annotated[Path | None, Flag(metavar="FILE", common=True)] = None
    """A contact sheet ending in .png; RUN/figures/neighbors-<image>.png by default."""
