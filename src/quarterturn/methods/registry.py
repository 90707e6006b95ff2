"""From a configuration to a method ready to train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quarterturn.config import Config
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Method, Network
from quarterturn.methods.decoupling import DecoupledNetwork, Decoupling
from quarterturn.methods.discrimination import InstanceDiscrimination
from quarterturn.methods.instance import Instance, InstanceNetwork
from quarterturn.methods.rotnet import RotationNetwork, RotNet
from quarterturn.models.registry import build_backbone


def build_network(config: Config) -> Network:
    """The network of ``config.method``, its weights fixed by the seed."""
    model, seed = config.model, config.run.seed
    backbone = build_backbone(model.backbone, config.data.image_size, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)  # the heads, whatever the backbone has drawn
        match config.method.method:
            case "decoupling":
                return DecoupledNetwork(backbone, model.embedding_dim)
            case "rotnet":
                return RotationNetwork(backbone)
            case "instance":
                return InstanceNetwork(backbone, model.embedding_dim)
            case "imported":
                return Network(backbone)
            case other:
                raise ConfigError(f"unknown method {other!r}")


def check_network(config: Config) -> None:
    """Refuse what `build_network` would refuse, without the time and memory of the weights."""
    with torch.device("meta"):
        build_network(config)


def build_method(
    config: Config,
    num_instances: int,
    *,
    p_upright: Tensor | None = None,
    device: torch.device | str = "cpu",
    mean_over_processes: Callable[[Tensor], Tensor] = lambda value: value,
) -> Method:
    """A method on its device, at the beginning of a run.

    Args:
        config: The whole configuration.
        num_instances: N, images to learn from.
        p_upright: (N, 4) for the noise-aware phase, or None; see `quarterturn.losses.rotation`.
        device: Where network and bank live.
        mean_over_processes: Averages a scalar over all processes.
    """
    # Channels last is what convolutions compute in fastest, on processors and GPUs.
    network = build_network(config).to(device).to(memory_format=torch.channels_last)
    settings = config.method
    noise_aware: Any = {
        "p_upright": None if p_upright is None else p_upright.to(device),
        "gamma": settings.gamma,
        "noise_aware_from": config.optimizer.noise_aware_from,
    }
    if isinstance(network, RotationNetwork):
        return RotNet(network, rotation_weight=settings.rotation_weight, **noise_aware)
    discrimination = InstanceDiscrimination(
        num_instances,
        config.model.embedding_dim,
        settings,
        seed=config.run.seed,
        device=device,
        mean_over_processes=mean_over_processes,
    )
    if isinstance(network, InstanceNetwork):
        return Instance(network, discrimination, instance_weight=settings.instance_weight)
    assert isinstance(network, DecoupledNetwork)
    return Decoupling(
        network,
        discrimination,
        rotation_weight=settings.rotation_weight,
        invariance_weight=settings.invariance_weight,
        instance_weight=settings.instance_weight,
        **noise_aware,
    )
