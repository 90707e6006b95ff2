"""What ``quarterturn upright`` and ``quarterturn orient`` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from quarterturn.config.bounds import Fraction
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import (
    ComputeOptions,
    OverwriteOptions,
    RunFileOptions,
    TrainingOptions,
)
from quarterturn.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class UprightOptions(TrainingOptions):
    """Estimate which images have an "up", by networks that have not seen them."""

    groups: ClassVar[tuple[str, ...]] = ("upright", "data", "model", "run", "optimizer", "machine")

    start: Annotated[str | None, Flag(name="from", metavar="RUN|FILE", common=True)] = None
    """Fit a rotation head for each fold on the features of these weights, of a run, of a file that
    import takes, or timm:NAME, in place of training networks from scratch."""
    format: Annotated[Literal["npz", "dat"], COMMON] = "npz"
    """dat writes the original's text file too: one probability a line, line 4*i + k."""


@dataclass(frozen=True, kw_only=True)
class OrientOptions(OverwriteOptions, RunFileOptions, ComputeOptions):
    """Predict which way is up, image by image, and write upright copies if asked to."""

    out: Annotated[Path | None, Flag(metavar="FILE", common=True)] = None
    """A .csv file, the table's figures beside it as .json; RUN/orient-<data>.csv by default."""
    write: Annotated[Path | None, Flag(metavar="DIR", common=True)] = None
    """Write upright copies of the images that are to be turned to this folder, without loss; never
    over the originals."""
    write_all: Annotated[bool, COMMON] = False
    """Copy all other images to --write DIR too, as they are."""
    in_sample: bool = False
    """Also orient images that a pretraining run was trained on; it is overconfident on those."""
    agnostic: Annotated[Fraction, COMMON] = 0.5
    """Images with this score or more have no clear up."""
    confidence: Annotated[Fraction, COMMON] = 0.8
    """Images whose turn is less probable than this are left as they are."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        if self.write_all and self.write is None:
            raise ConfigError("--write-all needs --write DIR, the folder of the copies")
