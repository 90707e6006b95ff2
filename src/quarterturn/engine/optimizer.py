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
    """SGD with momentum, or AdamW, with weight decay on every parameter, as in the paper.

    Args:
        network: What is trained.
        settings: Optimizer and rate, and whether biases decay.
        depths: Parameters by name to how deep they lie, from 0 at the images, for ``layer_decay``.
            Parameters without a depth are the heads'. Parameters of different rates are groups of
            their own, with ``rate_scale`` for the training loop.
    """
    parameters = list(network.parameters())
    groups: list[Any] = parameters
    heads = 1 + max((depths or {}).values(), default=0)
    by_rate: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        depth = (depths or {}).get(name, heads) if settings.layer_decay < 1 else heads
        differ = settings.bias_rate != 1 or not settings.decay_biases
        is_bias = differ and name.endswith("bias")
        by_rate.setdefault((depth, is_bias), []).append(parameter)
    if len(by_rate) > 1:
        groups = [
            {
                "params": some,
                "rate_scale": settings.layer_decay ** (heads - depth)
                * (settings.bias_rate if is_bias else 1.0),
                **({} if settings.decay_biases or not is_bias else {"weight_decay": 0.0}),
            }
            for (depth, is_bias), some in sorted(by_rate.items(), key=lambda item: item[0])
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


def rescale_momentum(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Multiply the momentum of SGD, once the learning rate is another.

    Caffe adds the product of rate and gradient to its momentum, torch the gradient, and multiplies
    later. The two are the same while the rate is; when it changes, torch's momentum times the old
    rate over the new one is Caffe's.

    Args:
        optimizer: SGD.
        factor: The rate before, over the rate from now on.
    """
    for state in optimizer.state.values():
        if (momentum := state.get("momentum_buffer")) is not None:
            momentum.mul_(factor)
