"""Backbones by name. A new one is a function that returns a `Backbone` and a line in the table.

Or it is in a package of its own, with an entry point in the group ``quarterturn.backbones``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from quarterturn.config.entry_points import BACKBONES_GROUP, callables_from
from quarterturn.errors import ConfigError
from quarterturn.models.alexnet import alexnet
from quarterturn.models.backbone import Backbone
from quarterturn.models.cifar_resnet import cifar_resnet
from quarterturn.models.convnet import convnet
from quarterturn.models.folded_alexnet import folded_alexnet
from quarterturn.models.nin import nin
from quarterturn.models.resnet import resnet18, resnet50
from quarterturn.models.timm_backbone import timm_backbone

BACKBONES: dict[str, Callable[[int], Backbone]] = {
    "alexnet": alexnet,
    "alexnet-folded": folded_alexnet,
    "alexnet-pool5": partial(folded_alexnet, last="pool5"),
    "resnet18": resnet18,
    "resnet50": resnet50,
    "resnet20": partial(cifar_resnet, depth=20),
    "resnet32": partial(cifar_resnet, depth=32),
    "nin": nin,
    "nin3": partial(nin, num_blocks=3),
    "nin5": partial(nin, num_blocks=5),
    "convnet": convnet,
}
BACKBONES |= callables_from(BACKBONES_GROUP, BACKBONES)


def build_backbone(name: str, image_size: int, *, seed: int = 0) -> Backbone:
    """A freshly initialised backbone.

    Args:
        name: One of `BACKBONES`, or ``timm:NAME`` for a network of timm.
        image_size: Side of the images in pixels.
        seed: Fixes the initial weights; the global random state does not change.

    Raises:
        ConfigError: There is no such backbone, it does not accept images of this size, or timm is
            needed and not installed.
    """
    if name.startswith("timm:"):
        constructor: Callable[[int], Backbone] = partial(timm_backbone, name.removeprefix("timm:"))
    elif name in BACKBONES:
        constructor = BACKBONES[name]
    else:
        names = ", ".join(BACKBONES)
        raise ConfigError(f"unknown backbone {name!r}; there are {names}, and timm:NAME")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return constructor(image_size)
        except ValueError as error:
            raise ConfigError(str(error)) from error
