"""What ``quarterturn cache``, ``embed`` and ``neighbors`` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from quarterturn.config.bounds import Count, JpegQuality
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import (
    ComputeOptions,
    DownloadOptions,
    FeatureOptions,
    ImageFileOptions,
    OverwriteOptions,
    RunFileOptions,
    WorkerOptions,
)


@dataclass(frozen=True, kw_only=True)
class CacheOptions(OverwriteOptions, ImageFileOptions, WorkerOptions):
    """Decode a collection once, so that trainings need not; the cache is given as DATA."""

    out: Annotated[Path, Flag(metavar="CACHE", common=True)]
    """A new folder; an unfinished cache of the same images is continued."""
    side: Annotated[Count, COMMON] = 256
    """Short side in pixels, of images that are larger. 8/7 of --image-size is what evaluation
    looks at; small random crops of a small cache are enlarged."""
    quality: Annotated[JpegQuality | None, Flag(metavar="Q", common=True)] = None
    """Keep JPEGs of this quality in place of raw pixels: at 90 about a fifth of the room, and each
    image has to be decoded again."""


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(
    FeatureOptions, OverwriteOptions, RunFileOptions, ComputeOptions, DownloadOptions
):
    """Write the features of every image to a file."""

    out: Annotated[Path, Flag(metavar="FILE", common=True)]
    """A file ending in .npz or .csv."""


@dataclass(frozen=True, kw_only=True)
class NeighborsOptions(
    FeatureOptions, OverwriteOptions, RunFileOptions, ComputeOptions, DownloadOptions
):
    """Find the images of a collection that are most like one image."""

    data: Annotated[str | None, Flag(metavar="DATA", common=True)] = None
    """The collection to search; by default all of the run's DATA."""
    k: Annotated[Count, COMMON] = 10
    """Number of neighbours."""
    out: Annotated[Path | None, Flag(metavar="FILE", common=True)] = None
    """A contact sheet ending in .png; RUN/figures/neighbors-<image>.png by default."""
