"""What ``quarterturn predict`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quarterturn.cli.arguments import Data, RunDirectory
from quarterturn.config import DataConfig


@dataclass(frozen=True)
class Predict:
    """Label images by a classifier that finetune has made."""

    run_directory: RunDirectory
    """The run."""
    data: Data
    """Images; labels are not needed."""
    out: Path
    """A file ending in .csv."""
    top_k: int = 3
    """How many of the most probable classes to write."""
    post_hoc_adjustment: float | None = None
    """Take so much of the log class frequencies off the logits; 1 for a run of cross-entropy, by
    default what the run was made with."""
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
        from quarterturn.classifying.predict import predict

        predict(
            self.run_directory,
            self.data,
            out=self.out,
            top_k=self.top_k,
            post_hoc_adjustment=self.post_hoc_adjustment,
            max_bad_fraction=self.max_bad_fraction,
            overwrite=self.overwrite,
            device=self.device,
            workers=self.workers,
        )
