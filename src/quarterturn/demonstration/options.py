"""What ``quarterturn demo`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from quarterturn.config.bounds import ImageCount, Seed
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import OverwriteOptions, RunFileOptions


@dataclass(frozen=True, kw_only=True)
class DemoOptions(OverwriteOptions, RunFileOptions):
    """Train RotNet, instance discrimination and both decoupled on digits or a folder: a table."""

    out: Annotated[Path | None, Flag(metavar="RUN", common=True)] = None
    """Run directory, which keeps the decoupled network; runs/<data>-demo-<n> by default."""
    limit: Annotated[ImageCount | None, COMMON] = None
    """Use at most N images; 1,000 photos by default, digits whole."""
    seed: Annotated[Seed, COMMON] = 0
    """Of weights, order, crops and noise. One seed: differences of a point or two between rows may
    be chance."""
