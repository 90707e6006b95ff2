"""Export a state dict for torchvision's ResNets."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from quarterturn.config import SMALL_IMAGE
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Network
from quarterturn.runs import Run
from quarterturn.weights.check import Exported, differences
from quarterturn.weights.exported_head import (
    ExportedHead,
    classifier_head,
    rotation_head,
    untrained_head,
)
from quarterturn.weights.layouts import resnet_name

RESNETS = ("resnet18", "resnet50")


def export_torchvision(
    run: Run, network: Network, out: Path, images: Tensor, *, num_classes: int | None = None
) -> Exported:
    """Write what ``torchvision.models.resnet18(num_classes=...)`` loads with ``strict=True``.

    torchvision's networks have a classifier, so the export needs one: by default the run's own, or
    the rotation head with four classes, whose weights on the invariant half are zero; else zeros,
    to be trained.

    Args:
        run: The run.
        network: Its network.
        out: The file.
        images: (n, 3, S, S) for the check.
        num_classes: Width of a classifier to be trained; None takes the run's classifier, or else
            the rotation head.

    Raises:
        ConfigError: torchvision has no such network, or the run has no head that fits.
    """
    require_resnet(run, "torchvision")
    name = run.config.model.backbone
    fc = _head(network, num_classes)
    state = resnet_state(network) | {"fc.weight": fc.weight, "fc.bias": fc.bias}
    torch.save(state, out)

    classes = len(fc.bias)
    theirs = getattr(torchvision.models, name)(weights=None, num_classes=classes)
    theirs.load_state_dict(torch.load(out, weights_only=True), strict=True)
    return Exported(
        (out.name,),
        f"torchvision {version('torchvision')}",
        differences(_ours(network, images, fc), _theirs(theirs.eval(), images)),
        "import torch, torchvision\n"
        f"network = torchvision.models.{name}(num_classes={classes}).eval()\n"
        f'network.load_state_dict(torch.load("{out.name}", weights_only=True), strict=True)',
        (fc.note,),
    )


def require_resnet(run: Run, consumer: str) -> None:
    """Refuse networks that differ from the ResNets of other libraries.

    Raises:
        ConfigError: Says how the network differs.
    """
    name, side = run.config.model.backbone, run.config.data.image_size
    if name not in RESNETS:
        raise ConfigError(
            f"{consumer} has no network like this {name}, only {' and '.join(RESNETS)}; "
            "--format safetensors and onnx take any"
        )
    if side < SMALL_IMAGE:
        raise ConfigError(
            f"this {name} was made for {side} px: below {SMALL_IMAGE} px its stem is a 3x3 "
            f"convolution of stride 1 without a pool, and {consumer}'s is a 7x7 one of stride 2 "
            "with a pool, so it cannot be loaded there; --format safetensors and onnx take any"
        )


def resnet_state(network: Network) -> dict[str, Tensor]:
    """The backbone's weights under the names of torchvision's and timm's ResNets."""
    state = network.state_dict()
    return {resnet_name(n): state[n] for n in state if n.startswith("backbone.")}


def _head(network: Network, num_classes: int | None) -> ExportedHead:
    """Zeros, the run's classifier, or its rotation head."""
    if num_classes is not None:
        return untrained_head(num_classes, network.backbone.feature_dim)
    if (head := classifier_head(network) or rotation_head(network)) is None:
        raise ConfigError(
            "torchvision's networks have a classifier, and this run has no rotation head to stand "
            "there: give --num-classes for one of zeros, to be trained"
        )
    return head


@torch.no_grad()
def _ours(network: Network, images: Tensor, fc: ExportedHead) -> dict[str, Tensor]:
    found = network.backbone.features(images, network.backbone.layers)
    return found | {"fc": fc.logits(found["pool"])}


@torch.no_grad()
def _theirs(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    layers = {f"layer{i}": f"layer{i}" for i in range(1, 5)}
    nodes = {"relu": "stem", **layers, "flatten": "pool", "fc": "fc"}
    return create_feature_extractor(network, nodes)(images)
