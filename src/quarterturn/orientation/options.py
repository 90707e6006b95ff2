"""What ``quarterturn upright`` and ``quarterturn orient`` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from quarterturn.config.bounds import Fraction
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import (
    ComputeOptions,
    DryRunOptions,
    OverwriteOptions,
    RunFileOptions,
    TrainingOptions,
)
from quarterturn.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class UprightOptions(DryRunOptions, TrainingOptions):
    """Estimate which images have an "up", by networks that have not seen them."""

    groups: ClassVar[tuple[str, ...]] = ("upright", "data", "model", "run", "optimizer", "machine")

    start: Annotated[str | None, Flag(name="from", metavar="RUN|FILE", common=True)] = None
    """Fit a rotation head for each fold on the features of these weights, of a run, of a file that
    import takes, or timm:NAME, in place of training networks from scratch."""
    format: Annotated[Literal["npz", "dat"], COMMON] = "npz"
    """dat writes the original's text file too: one probability a line, line 4*i + k."""


@dataclass(frozen=True, kw_only=True)
class OrientOptions(OverwriteOptions, RunFileOptions, ComputeOptions):
    """Predict which way is up, show it for review, and write upright copies if asked to."""

    out: Annotated[Path | None, Flag(metavar="DIR", common=True)] = None
    """The folder of the results, orient.html, orient.csv and orient.json; by default the run, or
    RUN/orient-<data> for other images than the run's own."""
    apply: Annotated[Path | None, Flag(metavar="FILE", common=True)] = None
    """Turn what this orient.csv says, reviewed on the page or by hand, and predict nothing; needs
    --write DIR."""
    write: Annotated[Path | None, Flag(metavar="DIR", common=True)] = None
    """Write upright copies of the images that are to be turned to this folder, without loss; never
    over the originals."""
    write_all: Annotated[bool, COMMON] = False
    """Copy all other images to --write DIR too, as they are."""
    in_sample: bool = False
    """No longer needed: images that a run has learned from are oriented too, and counted."""
    agnostic: Annotated[Fraction, COMMON] = 0.5
    """Images with this score or more have no clear up, unless their four copies agree."""
    confidence: Annotated[Fraction, COMMON] = 0.8
    """Images whose turn is less probable than this are left as they are."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        if self.write is None and (self.write_all or self.apply is not None):
            given = "--write-all" if self.write_all else f"--apply {self.apply}"
            raise ConfigError(f"{given} needs --write DIR, the folder of the copies")
        if self.in_sample:
            raise ConfigError(
                "--in-sample is no longer needed: images that a run has learned from are oriented "
                "too, and the page says how many they are; leave it out"
            )
        if self.out is not None and self.out.suffix in (".csv", ".json", ".html"):
            raise ConfigError(
                f"--out {self.out}: expected a folder, in which orient.html, orient.csv and "
                f"orient.json are written; give --out {self.out.with_suffix('')}"
            )
        if self.apply is not None and self.out is not None:
            raise ConfigError(
                "--out is for the page, and --apply makes none: leave --out out; copies go to "
                "--write DIR"
            )
