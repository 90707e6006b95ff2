"""What ``quarterturn orient`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from quarterturn.cli.arguments import MaybeData, RunDirectory


@dataclass(frozen=True)
class Orient:
    """Tell which way is up, image by image, and write upright copies if asked to."""

    run_directory: RunDirectory
    """A run of upright, or of pretrain with a rotation head; its upright run is used where it has
    one."""
    data: MaybeData = None
    """Images; by default all of the run's DATA."""
    out: Path | None = None
    """A .csv file, the table's figures beside it as .json; RUN/orient-<data>.csv by default."""
    write: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Write upright copies of the images that are to be turned to this folder, without loss; never
    over the originals."""
    write_all: bool = False
    """Copy all other images to --write DIR as well, as they are."""
    in_sample: bool = False
    """Let a pretraining run orient images that it has learned from, too sure as it is of them."""
    agnostic: float = 0.5
    """Images with this agnostic score or more have no up."""
    confidence: float = 0.8
    """Images whose turn is less probable than this are left as they are."""
    overwrite: bool = False
    """Replace existing files at --out, and those of the same names in --write DIR."""
    device: str = "auto"
    """auto, cpu, cuda ..."""
    workers: int = 2
    """Processes that decode files."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.orientation.orient import orient

        orient(
            self.run_directory,
            self.data,
            out=self.out,
            write=self.write,
            write_all=self.write_all,
            in_sample=self.in_sample,
            agnostic=self.agnostic,
            confidence=self.confidence,
            overwrite=self.overwrite,
            device=self.device,
            workers=self.workers,
        )
