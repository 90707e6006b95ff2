"""From a configuration to a network, and to a method ready to train.

Each method builds its own; only the random draws and the layout in memory are the same for all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Protocol, cast

import torch
from torch import Tensor

from quarterturn.config import MethodOptions
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Method, Network, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.view_options import ViewOptions
from quarterturn.models.backbone import Backbone
from quarterturn.models.registry import build_backbone

logger = logging.getLogger(__name__)


class MethodModule(Protocol):
    """What the module of a method offers; see `MethodOptions.module`."""

    def build_network(self, config: Config, backbone: Backbone, num_classes: int) -> Network:
        """The backbone with the heads of the method, whose weights are drawn from torch's RNG.

        Args:
            config: The whole configuration.
            backbone: Built already.
            num_classes: C, for a network that needs it.
        """

    def build_method(self, config: Config, network: Network, facts: TrainingFacts) -> Method:
        """The method at the beginning of a run.

        Args:
            config: The whole configuration.
            network: By `build_network`, on its device.
            facts: What is known of the images to learn from.
        """


def build_network(config: Config, num_classes: int = 0) -> Network:
    """The network of ``config.method``, its weights fixed by the seed.

    Args:
        config: The whole configuration.
        num_classes: C, of a classifier; the other methods have none.
    """
    seed = config.run.seed
    backbone = build_backbone(config.model.backbone, config.data.image_size, seed=seed)
    if config.method.module is None:
        return Network(backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)  # the heads, whatever the backbone has drawn
        network = _module_of(config.method).build_network(config, backbone, num_classes)
    network.freeze(config.model.trained, statistics=config.model.frozen_statistics)
    return network


def check_network(config: Config) -> None:
    """Refuse what `build_network` would refuse, without the time and memory of the weights."""
    if (small := _side_refused(config)) is not None:
        raise ConfigError(
            f"{config.model.backbone} made for images of {config.data.image_size} px takes no "
            f"views of {small} px: give --num-small-views 0, or another --backbone"
        )


def with_fitting_views(config: Config) -> Config:
    """The configuration without small views, where the default number of them cannot work.

    Backbones that flatten their last map take images of one size. Another number than the default
    was asked for, and is left for `check_network` to refuse.
    """
    method = config.method
    if (
        not isinstance(method, ViewOptions)
        or method.num_small_views != type(method).num_small_views
    ):
        return config
    if method.num_small_views == 0 or _side_refused(config) is None:
        return config
    # A warning: somebody may have asked for just as many as there are by default.
    logger.warning(
        f"{config.model.backbone} takes images of one size, so each image has {method.num_views} "
        "full views and no small ones (--num-small-views 0)"
    )
    return config.with_settings(num_small_views=0)


def _side_refused(config: Config) -> int | None:
    """The side of views that the backbone does not take; None if it takes all."""
    side = config.data.image_size
    with torch.device("meta"):
        backbone = build_network(config, num_classes=2).backbone.eval()
        for small in {shape[-1] for shape in config.method.input_shapes(2, side)} - {side}:
            try:
                backbone(torch.empty(2, 3, small, small))
            except (RuntimeError, ValueError, AssertionError):
                return small
    return None


def build_method(
    config: Config,
    num_instances: int,
    *,
    p_upright: Tensor | None = None,
    agnostic: Tensor | None = None,
    labels: Tensor | None = None,
    class_counts: Tensor | None = None,
    start: Network | None = None,
    device: torch.device | str = "cpu",
    mean_over_processes: Callable[[Tensor], Tensor] = lambda value: value,
    gather_own_first: Callable[[Tensor], Tensor] = lambda rows: rows,
    embed_images: Callable[[Network], Tensor] | None = None,
) -> Method:
    """A method on its device, at the beginning of a run.

    Args:
        config: The whole configuration.
        num_instances: N, images to learn from.
        p_upright: (N, 4) for the noise-aware phase and for balanced turns, or None; see
            `quarterturn.losses.rotation`.
        agnostic: (N,) scores from 0 (the turn is clear) to 1 (there is no "up"), for balanced
            groups, or None.
        labels: (N,) int64 classes to count, where the configuration counts labels, or None.
        class_counts: (C,) training images of each class, for a method that learns from labels.
        start: What the training begins with, for a method that learns from it.
        device: Where network and bank live.
        mean_over_processes: Averages a scalar over all processes.
        gather_own_first: Rows of all processes, this one's first, with gradients.
        embed_images: A network to (N, E) embeddings of the images, by a pass over them; for a
            method that keeps none and balances their clusters.

    Raises:
        ConfigError: The configuration needs what nothing is known of.
        ValueError: A class has no image, and the configuration does not leave it out.
    """
    # Channels last is what convolutions compute in fastest, on processors and GPUs.
    network = build_network(config, 0 if class_counts is None else len(class_counts))
    network = network.to(device).to(memory_format=torch.channels_last)
    facts = TrainingFacts(
        num_instances,
        p_upright=p_upright,
        agnostic=agnostic,
        labels=labels,
        class_counts=class_counts,
        start=start,
        device=device,
        mean_over_processes=mean_over_processes,
        gather_own_first=gather_own_first,
        embed_images=embed_images,
    )
    return _module_of(config.method).build_method(config, network, facts)


def _module_of(options: MethodOptions) -> MethodModule:
    assert options.module is not None
    return cast(MethodModule, import_module(options.module))
