"""The table of export formats. A new one is a writer, an entry here, and a ``--format`` choice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.sources import open_source
from quarterturn.methods.base import Network
from quarterturn.runs import Run
from quarterturn.weights.caffe import export_caffe
from quarterturn.weights.check import Exported
from quarterturn.weights.onnx import export_onnx
from quarterturn.weights.safetensors import export_safetensors
from quarterturn.weights.timm import export_timm
from quarterturn.weights.torchvision import export_torchvision

SAMPLE_SIZE = 32
"""Images on which ``--rescale`` balances the scales of the layers."""


class Writer(Protocol):
    """Writes a network's weights, and compares the consumer's outputs with ours."""

    def __call__(self, run: Run, network: Network, out: Path, images: Tensor, /) -> Exported:
        """Write the file ``out``; ``images`` (n, 3, S, S) are for the comparison.

        The options that the format takes follow as keywords, where the user gave them.
        """


@dataclass(frozen=True)
class ExportFormat:
    """A file format for weights.

    Attributes:
        suffix: Suffix of the file.
        write: The writer.
        options: Options of ``export`` that the writer takes as keywords.
        states_licence: Whether it also takes ``licence``, which every format's model card states.
        beside: Suffixes of the files written beside it.
    """

    suffix: str
    write: Writer
    options: tuple[str, ...] = ()
    states_licence: bool = False
    beside: tuple[str, ...] = ()


def _write_caffe(
    run: Run,
    network: Network,
    out: Path,
    images: Tensor,
    /,
    *,
    input: str = "rgb",
    rescale: str = "none",
    sample: Path | str | None = None,
) -> Exported:
    balance_on = None if rescale == "none" else _sample(run, sample)
    unit = rescale == "unit"
    return export_caffe(run, network, out, images, input=input, sample=balance_on, unit=unit)


def _sample(run: Run, data: Path | str | None) -> Tensor:
    """(n, 3, S, S) normalised images, spread evenly over all."""
    data = run.data_or_own(data, option="--sample")
    source = open_source(
        data, index=run.index, **run.config.data.reading | {"max_bad_fraction": 1.0}
    )
    source.log_summary()
    number = min(SAMPLE_SIZE, len(source.train))
    chosen = np.linspace(0, len(source.train) - 1, number).astype(np.int64)
    batches = evaluation_batches(source.train.subset(chosen), run.config.data)
    return torch.cat([batch.images for batch in batches])


FORMATS: dict[str, ExportFormat] = {
    "safetensors": ExportFormat(".safetensors", export_safetensors, states_licence=True),
    "torchvision": ExportFormat(".pth", export_torchvision, ("num_classes",)),
    "timm": ExportFormat(".safetensors", export_timm, ("num_classes",)),
    "onnx": ExportFormat(".onnx", export_onnx, ("layers",)),
    "caffe": ExportFormat(
        ".caffemodel", _write_caffe, ("input", "rescale", "sample"), beside=(".prototxt",)
    ),
}
"""Formats by the name given to ``--format``."""
