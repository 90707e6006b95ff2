"""Export to ONNX."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quarterturn.errors import ConfigError
from quarterturn.methods.base import Network
from quarterturn.runs import Run
from quarterturn.weights.check import Exported, differences

OPSET = 18
"""The exporter's native opset; later ones are converted from it."""

ROTATION = "rotation"
"""Name of the output with the rotation head's logits."""

LOGITS = "logits"
"""Name of the output with the classifier's logits, of which the softmax is the probabilities; of
images with several labels each, the sigmoid."""

HEAD_OF = {ROTATION: "rotation_head", LOGITS: "classifier"}
"""Outputs that are a head's to the name of the head."""


def export_onnx(
    run: Run, network: Network, out: Path, images: Tensor, *, layers: Sequence[str] | None = None
) -> Exported:
    """Write named layers as an ONNX graph with a dynamic batch.

    The input ``images`` is (batch, 3, S, S), normalised by the constants in the metadata. Written
    by torch's exporter based on ``torch.export``, the maintained one of its two.

    Args:
        run: The run.
        network: Its network.
        out: A file ending in ``.onnx``.
        images: (n, 3, S, S) to check by.
        layers: Outputs: names of layers, ``rotation`` for the rotation head's logits, and
            ``logits`` for the classifier's. By default the last layer, and what there is of these.

    Raises:
        ConfigError: The extra is not installed, or there is no such layer.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter is written in it
    except ImportError as error:
        raise ConfigError(
            "--format onnx needs an extra: pip install 'quarterturn[onnx]'"
        ) from error
    heads = [output for output, head in HEAD_OF.items() if head in network.heads]
    names = [network.backbone.layers[-1], *heads] if layers is None else list(layers)
    offered = [*network.backbone.layers, *heads]
    if unknown := [name for name in names if name not in offered]:
        raise ConfigError(f"no layers {', '.join(unknown)}; this run has {', '.join(offered)}")
    outputs = _Outputs(network, names).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the internals of torch's exporter
        program = torch.onnx.export(
            outputs,
            (images,),
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            input_names=["images"],
            output_names=names,
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        )
    assert program is not None
    crop = run.config.data
    program.model.metadata_props.update(
        architecture=run.config.model.backbone,
        method=run.config.method.name,
        image_size=str(crop.image_size),
        eval_crop=json.dumps(crop.centre_crop),
        mean=json.dumps(crop.mean),
        std=json.dumps(crop.std),
        class_names=json.dumps(run.class_names),
    )
    program.save(out, external_data=False)

    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(names, {"images": images.numpy()})
    with torch.no_grad():
        expected = dict(zip(names, outputs(images), strict=True))
    return Exported(
        (out.name,),
        f"onnxruntime {onnxruntime.__version__}",
        differences(expected, {n: torch.from_numpy(v) for n, v in zip(names, found, strict=True)}),
        "import onnxruntime\n"
        f'session = onnxruntime.InferenceSession("{out.name}")\n'
        'outputs = session.run(None, {"images": images})',
        (f"Opset {OPSET}; any number of images at a time; outputs, in order: {', '.join(names)}.",),
    )


class _Outputs(nn.Module):
    """A network that returns the named layers, in order."""

    def __init__(self, network: Network, names: Sequence[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        last = self.network.backbone.layers[-1]
        wanted = [last if name in HEAD_OF else name for name in self.names]
        found = self.network.backbone.features(images, wanted)
        if last in wanted:
            heads = self.network.head_outputs(found[last])
            found |= {output: heads[head] for output, head in HEAD_OF.items() if head in heads}
        return tuple(found[name] for name in self.names)
