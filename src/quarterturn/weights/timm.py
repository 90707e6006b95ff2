"""Export a checkpoint for ``timm.create_model``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from quarterturn.methods.base import Network
from quarterturn.models.timm_backbone import import_timm
from quarterturn.runs import Run
from quarterturn.weights.check import Exported, differences
from quarterturn.weights.exported_head import ExportedHead, classifier_head, untrained_head
from quarterturn.weights.layouts import timm_name
from quarterturn.weights.torchvision import require_resnet, resnet_state


def export_timm(
    run: Run, network: Network, out: Path, images: Tensor, *, num_classes: int | None = None
) -> Exported:
    """Write what ``timm.create_model(name, num_classes=..., checkpoint_path=...)`` loads.

    Args:
        run: The run, of ``resnet18``, ``resnet50`` or ``timm:NAME``.
        network: Its network.
        out: A file ending in ``.safetensors``.
        images: (n, 3, S, S) for the check.
        num_classes: Width of a classifier of zeros, to be trained. With 1000, as in most of timm's
            networks, timm needs only the name and the checkpoint. None takes the run's classifier
            where timm's network has a linear layer for it, or else no classifier.

    Raises:
        ConfigError: timm is not installed, or has no such network.
    """
    backbone = run.config.model.backbone
    timm = import_timm("--format timm")
    if backbone.startswith("timm:"):
        name, state = backbone.removeprefix("timm:"), network.state_dict()
        state = {timm_name(n): state[n] for n in state if n.startswith("backbone.")}
    else:
        require_resnet(run, "timm")
        name, state = backbone, resnet_state(network)
    arguments: dict[str, Any] = {"num_classes": num_classes or 0}
    if not _fits(timm.create_model(name, **arguments), state):
        arguments["img_size"] = run.config.data.image_size  # positions are embedded for one size
    notes: tuple[str, ...] = ()
    head = None if num_classes else classifier_head(network)
    if num_classes:
        empty = timm.create_model(name, **arguments).state_dict()
        state |= {n: torch.zeros_like(empty[n]) for n in empty.keys() - state.keys()}
        notes = (untrained_head(num_classes, network.backbone.feature_dim).note,)
    elif head is not None:
        with_classes = arguments | {"num_classes": len(head.bias)}
        layer = _linear_classifier(timm.create_model(name, **with_classes), head)
        if layer is None:
            head = None
            notes = (
                f"The classifier is not in this file, since timm's {name} has no single linear "
                "layer for it; --format onnx and safetensors have it.",
            )
        else:
            arguments, notes = with_classes, (head.note,)
            state |= {f"{layer}.weight": head.weight, f"{layer}.bias": head.bias}
    out.write_bytes(save({n: t.contiguous() for n, t in state.items()}))

    theirs = timm.create_model(name, checkpoint_path=str(out), **arguments).eval()
    with torch.no_grad():
        maps, features = theirs.forward_features(images), network.backbone(images)
        found = {"pool": theirs.forward_head(maps, pre_logits=True)}
        expected = {"pool": features}
        if head is not None:
            found["logits"], expected["logits"] = theirs(images), head.logits(features)
    use = "features = network.forward_head(network.forward_features(images), pre_logits=True)"
    if head is not None:
        use = "logits = network(images)"
    words = "".join(f", {key}={value}" for key, value in arguments.items())
    return Exported(
        (out.name,),
        f"timm {version('timm')}",
        differences(expected, found),
        "import timm\n"
        f'network = timm.create_model("{name}"{words}, checkpoint_path="{out.name}").eval()\n'
        + use,
        notes,
    )


def _linear_classifier(network: Any, head: ExportedHead) -> str | None:
    """The name of the layer of a network of timm that a head replaces; None if it does not fit."""
    layer = network.get_classifier()
    names = [name for name, module in network.named_modules() if module is layer]
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
    wanted = {"weight": head.weight.shape, "bias": head.bias.shape}
    fits = [n for n in names if all(shapes.get(f"{n}.{kind}") == wanted[kind] for kind in wanted)]
    return fits[0] if len(names) == len(fits) == 1 else None


def _fits(network: Any, state: dict[str, Tensor]) -> bool:
    theirs = network.state_dict()
    return all(n in theirs and theirs[n].shape == state[n].shape for n in state)
