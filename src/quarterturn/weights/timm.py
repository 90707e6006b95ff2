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
from quarterturn.weights.layouts import timm_name
from quarterturn.weights.torchvision import require_resnet, resnet_state


def export_timm(
    run: Run, network: Network, out: Path, images: Tensor, *, num_classes: int = 0
) -> Exported:
    """Write what ``timm.create_model(name, num_classes=..., checkpoint_path=...)`` loads.

    Args:
        run: The run, of ``resnet18``, ``resnet50`` or ``timm:NAME``.
        network: Its network.
        out: A file ending in ``.safetensors``.
        images: (n, 3, S, S) for the check.
        num_classes: Width of a classifier of zeros, to be trained; 0 for none. With 1000, as in
            most of timm's networks, timm needs only the name and the checkpoint.

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
    arguments: dict[str, Any] = {"num_classes": num_classes}
    side = run.config.data.image_size
    if not _fits(timm.create_model(name, **arguments), state):
        arguments["img_size"] = side  # positions are embedded for one size
    empty = timm.create_model(name, **arguments).state_dict()
    classifier = {n: torch.zeros_like(empty[n]) for n in empty.keys() - state.keys()}
    out.write_bytes(save({n: t.contiguous() for n, t in (state | classifier).items()}))

    theirs = timm.create_model(name, checkpoint_path=str(out), **arguments).eval()
    with torch.no_grad():
        maps = theirs.forward_features(images)
        found = {"pool": theirs.forward_head(maps, pre_logits=True)}
        expected = {"pool": network.backbone(images)}
    words = "".join(f", {key}={value}" for key, value in arguments.items())
    return Exported(
        (out.name,),
        f"timm {version('timm')}",
        differences(expected, found),
        "import timm\n"
        f'network = timm.create_model("{name}"{words}, checkpoint_path="{out.name}").eval()\n'
        "features = network.forward_head(network.forward_features(images), pre_logits=True)",
        ("The classifier is all zeros, to be trained.",) if num_classes else (),
    )


def _fits(network: Any, state: dict[str, Tensor]) -> bool:
    theirs = network.state_dict()
    return all(n in theirs and theirs[n].shape == state[n].shape for n in state)
