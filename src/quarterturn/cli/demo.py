"""What ``quarterturn demo`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from quarterturn.cli.arguments import DATA_WORDS, Data, MaybeRun


@dataclass(frozen=True)
class Demo:
    """Train every method on digits, or on your own folder, and lay the figures side by side."""

    data: Annotated[Data, tyro.conf.arg(metavar="DATA", help=f"{DATA_WORDS}.")] = "digits"
    out: MaybeRun = None
    """Run directory; runs/<data>-demo-<n> by default."""
    limit: int | None = None
    """Images to use; 1,000 photos by default."""
    seed: int = 0
    """Weights, order, crops and noise follow from it."""
    overwrite: bool = False
    """Delete an earlier run at --out."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.demonstration.demo import demo

        demo(
            self.data,
            out=self.out,
            limit=self.limit,
            seed=self.seed,
            overwrite=self.overwrite,
        )
