"""The optimizer of a network."""

from __future__ import annotations

import torch
from torch import nn

from quarterturn.config import OptimizerConfig


def build_optimizer(network: nn.Module, settings: OptimizerConfig) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW; weight decay on every parameter, as in the paper."""
    parameters = list(network.parameters())
    # One kernel for all parameters, where torch has one: steps of many small layers are quicker.
    fused = all(p.device.type in ("cpu", "cuda", "mps") for p in parameters)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=fused,
        )
    return torch.optim.SGD(
        parameters,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov and settings.momentum > 0,
        weight_decay=settings.weight_decay,
        fused=fused,
    )
