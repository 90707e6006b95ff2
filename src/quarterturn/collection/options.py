"""What ``quarterturn explore``, ``doctor``, ``cache``, ``embed`` and ``neighbors`` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from quarterturn.config.bounds import ClassCount, Count, CountOrZero, JpegQuality, Seed, Side
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

CopyKind = Literal["exact", "near", "turned", "mirrored"]


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
class DoctorOptions(OverwriteOptions, ImageFileOptions, ComputeOptions, DownloadOptions):
    """Look at every image before any training: what is wrong, what it costs, which flags to use."""

    out: Annotated[Path | None, Flag(metavar="DIR", common=True)] = None
    """A folder outside DATA; doctor-<data>-<n> in the working folder by default."""
    strict: Annotated[bool, COMMON] = False
    """Exit with 1 where anything was found; notes do not count."""
    preset: Annotated[str | None, Flag(metavar="NAME", common=True)] = None
    """The recipe whose cost is estimated; by default the one that pretrain picks for DATA."""
    image_size: Annotated[Side | None, COMMON] = None
    """Side of the crops that images are measured by; by default the recipe's, or less where most
    images are smaller."""
    timing: Annotated[bool, COMMON] = True
    """Take a few steps of a training, which is thrown away, to say how long one would take."""


@dataclass(frozen=True, kw_only=True)
class DuplicatesOptions(OverwriteOptions, RunFileOptions, WorkerOptions):
    """Find images that show the same picture: exact, near, turned and mirrored copies."""

    out: Annotated[Path | None, Flag(metavar="FILE.csv", common=True)] = None
    """The table, with a page and the figures beside it as .html and .json; duplicates.csv by
    default, in the working folder or in the run."""
    data: Annotated[str | None, Flag(metavar="DATA", common=True)] = None
    """For a run, images other than its own."""
    keep: Annotated[str, Flag(metavar="largest|oldest|FOLDER", common=True)] = "largest"
    """Which image of a group to keep: the one with most pixels, then bytes; the one taken first, by
    EXIF or else by the file's time; or all that are below a folder."""
    move: Annotated[Path | None, Flag(metavar="DIR", common=True)] = None
    """Move the copies that are not kept to this folder, outside PHOTOS, in their sub-folders.
    Nothing is deleted or written over, and DIR/undo.json moves all of it back. Without it no file
    is touched."""
    kinds: Annotated[tuple[CopyKind, ...], COMMON] = ("exact",)
    """Kinds of copies that --move moves: exact near turned mirrored. All are listed anyway."""
    undo: Annotated[Path | None, Flag(metavar="FILE", common=True)] = None
    """Move files back by the undo.json of an earlier --move, and do nothing else."""


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
