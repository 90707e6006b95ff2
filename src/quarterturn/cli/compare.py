"""What ``quarterturn compare`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Compare:
    """Lay runs side by side, by probes or as classifiers; seeds of one as mean and spread."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN ...")]
    """Runs that have been probed, or that finetune has made."""
    measure: Literal[
        "top1",
        "balanced",
        "worst_class",
        "many",
        "medium",
        "few",
        "std_over_classes",
        "std_over_groups",
    ] = "top1"
    """What the tables show; the file holds all."""
    mixed: bool = False
    """Show a table for each protocol of any run, instead of those that all runs share."""
    out: Path | None = None
    """A .json file for the figures; comparison-<n>.json beside the first run by default."""
    overwrite: bool = False
    """Replace an existing file."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.comparing.compare import compare

        compare(
            self.runs,
            measure=self.measure,
            mixed=self.mixed,
            out=self.out,
            overwrite=self.overwrite,
        )
