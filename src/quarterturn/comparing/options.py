"""What ``quarterturn compare`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import OverwriteOptions
from quarterturn.runs.records import MeasureName


@dataclass(frozen=True, kw_only=True)
class CompareOptions(OverwriteOptions):
    """Lay runs side by side, by probes or as classifiers; seeds of one as mean and spread."""

    measure: Annotated[MeasureName, COMMON] = "top1"
    """What the tables show; the file holds all."""
    mixed: Annotated[bool, COMMON] = False
    """Show a table for each protocol of any run, instead of those that all runs share."""
    format: Annotated[Literal["html", "latex", "csv"] | None, COMMON] = None
    """A page, tables for a paper, or all figures in rows; by default what the name of --out ends
    in, or else only the .json file."""
    out: Annotated[Path | None, Flag(metavar="FILE", common=True)] = None
    """A file ending in .html, .tex or .csv, with all figures in a .json file beside it, or only the
    latter; comparison-<n> beside the first run by default."""


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Make the page of a run again, from what its directory holds."""
