"""The optimizer of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from quarterturn.config import OptimizerConfig


def build_optimizer(
    network: nn.Module, settings: OptimizerConfig, depths: Mapping[str, int] | None = None
) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW; weight decay on every parameter, as in the paper.

    Args:
        network: What is trained.
        settings: Optimizer and rate.
        depths: Parameters by name to how deep they lie, from 0 at the images; where
            ``layer_decay`` is below 1, they have groups of their own, with ``rate_scale`` for the
            training loop. Parameters without a depth are the heads'.
    """
    parameters = list(network.parameters())
    groups: list[Any] = parameters
    if settings.layer_decay < 1 and depths:
        by_depth: dict[int, list[nn.Parameter]] = {}
        heads = 1 + max(depths.values())
        for name, parameter in network.named_parameters():
            by_depth.setdefault(depths.get(name, heads), []).append(parameter)
        groups = [
            {"params": of_depth, "rate_scale": settings.layer_decay ** (heads - depth)}
            for depth, of_depth in sorted(by_depth.items())
        ]
    # One kernel for all parameters, where torch has one: steps of many small layers are quicker.
    fused = all(p.device.type in ("cpu", "cuda", "mps") for p in parameters)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            groups,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=fused,
        )
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov and settings.momentum > 0,
        weight_decay=settings.weight_decay,
        fused=fused,
    )
