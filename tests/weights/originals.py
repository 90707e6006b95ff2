"""Checkpoints with the original codes' names, and what their networks compute, written out."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]

CONVOLUTIONS = [  # number of the block, inputs, outputs, kernel, stride, padding, pool behind
    ("0", 3, 64, 11, 4, 2, True),
    ("2", 64, 192, 5, 1, 2, True),
    ("4", 192, 384, 3, 1, 1, False),
    ("5", 384, 256, 3, 1, 1, False),
    ("6", 256, 256, 3, 1, 1, True),
]


def alexnet_state(generator: torch.Generator) -> State:
    """FeatureDecoupling's AlexNet, as its code names it, without counts of batches."""
    state: State = {}
    for number, inputs, outputs, kernel, *_ in CONVOLUTIONS:
        name = f"_feature_blocks.{number}"
        weight(state, f"{name}.0", (outputs, inputs, kernel, kernel), generator)
        state[f"{name}.0.bias"] = 0.1 * torch.randn(outputs, generator=generator)
        norm(state, f"{name}.1", outputs, generator)
    for linear, behind, inputs in [("8.1", "8.2", 9216), ("8.4", "8.5", 4096)]:
        weight(state, f"_feature_blocks.{linear}", (4096, inputs), generator)
        norm(state, f"_feature_blocks.{behind}", 4096, generator)
    return state


def alexnet_layers(state: State, images: Tensor) -> State:
    """Every named layer of AlexNet."""
    found, x = {}, images
    for i, (number, *_, stride, padding, pool) in enumerate(CONVOLUTIONS, start=1):
        name = f"_feature_blocks.{number}"
        x = F.conv2d(x, state[f"{name}.0.weight"], state[f"{name}.0.bias"], stride, padding)
        x = found[f"conv{i}"] = F.relu(normalised(state, f"{name}.1", x))
        x = F.max_pool2d(x, 3, 2) if pool else x
    x = x.flatten(1)
    for layer, linear, behind in [("fc6", "8.1", "8.2"), ("fc7", "8.4", "8.5")]:
        x = F.linear(x, state[f"_feature_blocks.{linear}.weight"])
        x = found[layer] = F.relu(normalised(state, f"_feature_blocks.{behind}", x))
    return found


def nin_state(blocks: int, generator: torch.Generator) -> State:
    """RotNet's Network-in-Network, as its code names it."""
    state: State = {}
    inputs = 3
    for block in range(blocks):
        widths = (192, 160, 96) if block == 0 else (192, 192, 192)
        kernels = (5 if block < 2 else 3, 1, 1)
        for i, (outputs, kernel) in enumerate(zip(widths, kernels, strict=True), start=1):
            name = f"_feature_blocks.{block}.Block{block + 1}_ConvB{i}.layers"
            weight(state, f"{name}.Conv", (outputs, inputs, kernel, kernel), generator)
            norm(state, f"{name}.BatchNorm", outputs, generator)
            inputs = outputs
    classifier(state, f"_feature_blocks.{blocks}.Classifier", 192, generator)
    return state


def nin_logits(state: State, blocks: int, images: Tensor) -> Tensor:
    """The four logits of RotNet's Network-in-Network."""
    x = images
    for block in range(blocks):
        for i in (1, 2, 3):
            name = f"_feature_blocks.{block}.Block{block + 1}_ConvB{i}.layers"
            kernel = state[f"{name}.Conv.weight"]
            x = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
            x = F.relu(normalised(state, f"{name}.BatchNorm", x))
        if block == 0:
            x = F.max_pool2d(x, 3, 2, 1)
        elif block == 1:
            x = F.avg_pool2d(x, 3, 2, 1)
    name = f"_feature_blocks.{blocks}.Classifier"
    return F.linear(x.mean(dim=(2, 3)), state[f"{name}.weight"], state[f"{name}.bias"])


def weight(state: State, name: str, shape: tuple[int, ...], generator: torch.Generator) -> None:
    deviation = math.sqrt(2 / math.prod(shape[1:]))
    state[f"{name}.weight"] = deviation * torch.randn(shape, generator=generator)


def norm(state: State, name: str, width: int, generator: torch.Generator) -> None:
    def draw(low: float, high: float) -> Tensor:
        return torch.empty(width).uniform_(low, high, generator=generator)

    state[f"{name}.weight"], state[f"{name}.bias"] = draw(0.7, 1.3), draw(-0.2, 0.4)
    state[f"{name}.running_mean"], state[f"{name}.running_var"] = draw(-0.3, 0.3), draw(0.5, 1.5)


def normalised(state: State, name: str, x: Tensor) -> Tensor:
    mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"])


def classifier(state: State, name: str, inputs: int, generator: torch.Generator) -> None:
    weight(state, name, (4, inputs), generator)
    state[f"{name}.bias"] = torch.randn(4, generator=generator)


def on_a_gpu_by_python_2(stored: dict[str, Any]) -> bytes:
    """What an old torch wrote under Python 2 of tensors on a GPU: another format altogether."""
    buffer = io.BytesIO()
    torch.save(stored, buffer, _use_new_zipfile_serialization=False)
    written = buffer.getvalue()
    written = written.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    written = written.replace(b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n")
    assert b"cuda:0" in written
    assert b"torch.cuda\nFloat" in written

    def short(found: re.Match[bytes]) -> bytes:
        text = found[2][: found[1][0]]
        return b"U" + found[1] + text + found[2][found[1][0] :]

    return re.sub(rb"X([\x01-\x7f])\x00\x00\x00([\x20-\x7e]+)", short, written)
