"""What ``quarterturn doctor`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from quarterturn.config.bounds import Side
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import (
    ComputeOptions,
    DownloadOptions,
    ImageFileOptions,
    OverwriteOptions,
)


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
