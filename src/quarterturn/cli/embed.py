"""What ``quarterturn embed`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from quarterturn.cli.arguments import MaybeData, RunDirectory
from quarterturn.config import DataConfig


@dataclass(frozen=True)
class Embed:
    """Write the features of every image to a file."""

    run_directory: RunDirectory
    """The run."""
    out: Path
    """A file ending in .npz or .csv."""
    data: MaybeData = None
    """Images; by default all of the run's DATA."""
    half: Literal["invariant", "rotation", "both"] | None = None
    """Part of the features; the invariant half by default."""
    layer: str | None = None
    """A named layer in place of the last; maps are averaged over their area."""
    max_bad_fraction: float = DataConfig.max_bad_fraction
    """Stop when more than this fraction of the image files cannot be read; else they are listed."""
    overwrite: bool = False
    """Replace an existing file."""
    device: str = "auto"
    """auto, cpu, cuda ..."""
    workers: int = 2
    """Processes that decode files."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.collection.embed import embed

        embed(
            self.run_directory,
            self.data,
            out=self.out,
            half=self.half,
            layer=self.layer,
            max_bad_fraction=self.max_bad_fraction,
            overwrite=self.overwrite,
            device=self.device,
            workers=self.workers,
        )
