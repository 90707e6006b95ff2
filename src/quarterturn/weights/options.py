"""What ``quarterturn export`` and ``quarterturn import`` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from quarterturn.config.bounds import ClassCount, Positive
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import OverwriteOptions
from quarterturn.errors import ConfigError

Format = Literal["safetensors", "torchvision", "timm", "onnx", "caffe"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions(OverwriteOptions):
    """Write a run's weights for other codes, and check them there; a model card lies beside."""

    format: Annotated[Format, COMMON]
    """safetensors keeps all of any run and is read by load_backbone; torchvision and timm take
    ResNets (timm its own too), caffe AlexNet, onnx anything."""
    out: Annotated[Path | None, Flag(metavar="FILE", common=True)] = None
    """The file; RUN/exports/<format>/<backbone> by default."""
    licence: Annotated[str | None, COMMON] = None
    """What the model card names as licence, and with safetensors those of runs that begin with the
    file."""
    layers: Annotated[tuple[str, ...] | None, Flag(metavar="NAME ...", common=True)] = None
    """onnx: outputs by name, with rotation and logits for those of the heads; by default the last
    layer and the heads'."""
    num_classes: Annotated[ClassCount | None, COMMON] = None
    """torchvision, timm: a classifier of zeros for N classes, to be trained. By default it is that
    of a run of finetune; else torchvision's is the rotation head, and timm's network has none."""
    input: Annotated[Literal["rgb", "bgr255"] | None, COMMON] = None
    """caffe: normalised RGB (the default), or blue, green, red in 0..255 less the mean."""
    rescale: Literal["none", "balanced", "unit"] = "none"
    """caffe: balanced scales the layers to learn at one rate and leaves the last output as it is;
    unit also brings that to a standard deviation of 1 (Krähenbühl et al. 2016)."""
    sample: Annotated[str | None, Flag(metavar="DATA")] = None
    """caffe: DATA to balance by; the run's own by default."""
    tolerance: Positive = 1e-4
    """How far the consumer's outputs may be from ours, as a fraction of their largest value."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        if self.sample is not None and self.rescale == "none":
            raise ConfigError("--sample is for --rescale; give both or neither")


@dataclass(frozen=True, kw_only=True)
class ImportOptions(OverwriteOptions):
    """Make a run of weights that were trained elsewhere."""

    out: Annotated[Path, Flag(metavar="RUN", common=True)]
    """Run directory."""
    backbone: Annotated[str | None, COMMON] = None
    """timm:NAME for weights of other networks of timm, unless the file is named after it; else the
    tensors' names tell."""
    ema: Annotated[bool, COMMON] = False
    """Take the moving averages of the weights, where the file has them beside the weights."""
    prefix: Annotated[str | None, COMMON] = None
    """What the names of the network's tensors begin with, such as encoder_q; found by default."""
    licence: Annotated[str | None, COMMON] = None
    """Licence of the weights, for model cards, and for those of runs that begin with them."""
