"""What ``quarterturn import`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Import:
    """Make a run of weights that were trained elsewhere."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE")]
    """A checkpoint of FeatureDecoupling or RotNet, weights of torchvision's or timm's resnet18 or
    resnet50, or a file of export --format safetensors."""
    out: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    backbone: str | None = None
    """timm:NAME for weights of other networks of timm; else the tensors' names tell."""
    overwrite: bool = False
    """Delete an earlier run at --out."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.weights.import_checkpoint import import_checkpoint

        import_checkpoint(self.file, out=self.out, backbone=self.backbone, overwrite=self.overwrite)
