"""What ``quarterturn neighbors`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from quarterturn.cli.arguments import RunDirectory


@dataclass(frozen=True)
class Neighbors:
    """Find the images of a collection that are most like one image."""

    run_directory: RunDirectory
    """The run."""
    image: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="IMAGE")]
    """An image file, or the name of an image in the collection."""
    data: str | None = None
    """The collection to search; by default all of the run's DATA."""
    k: int = 10
    """How many neighbours."""
    half: Literal["invariant", "rotation", "both"] | None = None
    """Part of the features; the invariant half by default."""
    layer: str | None = None
    """A named layer in place of the last; maps are averaged over their area."""
    out: Path | None = None
    """A contact sheet ending in .png; RUN/figures/neighbors-<image>.png by default."""
    overwrite: bool = False
    """Replace existing files at --out."""
    device: str = "auto"
    """auto, cpu, cuda ..."""
    workers: int = 2
    """Processes that decode files."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.collection.neighbors import neighbors

        neighbors(
            self.run_directory,
            self.image,
            data=self.data,
            k=self.k,
            half=self.half,
            layer=self.layer,
            out=self.out,
            overwrite=self.overwrite,
            device=self.device,
            workers=self.workers,
        )
