"""What ``quarterturn duplicates`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import (
    OverwriteOptions,
    RunFileOptions,
    WorkerOptions,
)

CopyKind = Literal["exact", "near", "turned", "mirrored"]


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
