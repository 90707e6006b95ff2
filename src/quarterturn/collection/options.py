"""What ``quarterturn embed``, ``neighbors``, ``label`` and ``cache`` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from quarterturn.config.bounds import Count, JpegQuality, Seed
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
class LabelOptions(OverwriteOptions, RunFileOptions, ComputeOptions, DownloadOptions):
    """Suggest the images that are worth labelling first, in a list to fill in."""

    suggest: Annotated[Count, COMMON] = 40
    """Number of images."""
    data: Annotated[str | None, Flag(metavar="DATA", common=True)] = None
    """The collection; by default the run's DATA."""
    classifier: Annotated[Path | None, Flag(metavar="RUN", common=True)] = None
    """A run of finetune: suggest what it is unsure of, and nothing that it knows the label of."""
    labelled: Annotated[str | None, Flag(metavar="FILE", common=True)] = None
    """A list with labels, or other DATA: its labelled images are not suggested, nor others like
    them."""
    out: Annotated[Path | None, Flag(metavar="FILE", common=True)] = None
    """A file ending in .csv; RUN/labels-<n>.csv by default. A contact sheet is beside it."""
    seed: Annotated[Seed, COMMON] = 0
    """Of the clusters."""


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(
    FeatureOptions, OverwriteOptions, RunFileOptions, ComputeOptions, DownloadOptions
):
    """Write the features of every image to a file."""

    out: Annotated[Path, Flag(metavar="FILE", common=True)]
    """A file ending in .npz, .csv or .parquet. The last is for pandas, polars, DuckDB and LanceDB,
    also has what explore found of each image, and needs the extra parquet."""


@dataclass(frozen=True, kw_only=True)
class NeighborsOptions(
    FeatureOptions, OverwriteOptions, RunFileOptions, ComputeOptions, DownloadOptions
):
    """Find the images of a collection that are most like one image, or like each of many."""

    data: Annotated[str | None, Flag(metavar="DATA", common=True)] = None
    """The collection to search; by default all of the run's DATA."""
    k: Annotated[Count, COMMON] = 10
    """Number of neighbours."""
    out: Annotated[Path | None, Flag(metavar="FILE", common=True)] = None
    """A contact sheet ending in .png, RUN/figures/neighbors-<image>.png by default; of many queries
    a .csv file with a page beside it, RUN/neighbors-<folder>.csv by default."""
