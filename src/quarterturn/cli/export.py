"""What ``quarterturn export`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from quarterturn.cli.arguments import RunDirectory


@dataclass(frozen=True)
class Export:
    """Write a run's weights for other codes, and check them there; a model card lies beside."""

    run_directory: RunDirectory
    """The run."""
    format: Literal["safetensors", "torchvision", "timm", "onnx", "caffe"]
    """safetensors keeps all of any run and is read by load_backbone; torchvision and timm take
    ResNets (timm its own as well), caffe AlexNet, onnx anything."""
    out: Path | None = None
    """The file; RUN/exports/<format>/<backbone> by default."""
    layers: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME ...")] = None
    """onnx: outputs by name, rotation among them; by default the last layer and rotation."""
    num_classes: int | None = None
    """torchvision, timm: a classifier of zeros for so many classes, to be trained. By default
    torchvision's is the rotation head and timm's network has none."""
    input: Literal["rgb", "bgr255"] | None = None
    """caffe: normalised RGB (the default), or blue, green, red in 0..255 less the mean."""
    rescale: bool = False
    """caffe: balance the scales of the layers, which leaves the features as they are."""
    sample: str | None = None
    """caffe: DATA to balance by; the run's own by default."""
    licence: str | None = None
    """What the model card names as licence."""
    tolerance: float = 1e-4
    """How far the consumer's outputs may be from ours, as a fraction of their largest value."""
    overwrite: bool = False
    """Replace existing files."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.weights.export import export

        export(
            self.run_directory,
            format=self.format,
            out=self.out,
            layers=self.layers,
            num_classes=self.num_classes,
            input=self.input,
            rescale=self.rescale,
            sample=self.sample,
            licence=self.licence,
            tolerance=self.tolerance,
            overwrite=self.overwrite,
        )
