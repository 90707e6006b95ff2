"""Runs that nobody has trained, with batch norms that are not the identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.methods.registry import build_network
from quarterturn.presets.unlabelled import digits
from quarterturn.runs import Run

MakeRun = Callable[..., Run]


def write_run(path: Path, **settings: Any) -> Run:
    """A run by settings that differ from the preset ``digits``."""
    config = digits().with_settings(**settings)
    run = Run(path, "digits", config, "0123456789abcdef")
    run.create()
    network = build_network(config)
    unlike_the_identity(network)
    save_checkpoint(run.checkpoint, {"network": network.state_dict(), "epochs_done": 25.0})
    return run


def unlike_the_identity(network: nn.Module) -> None:
    """Draw what batch norms scale and shift by."""
    random = torch.Generator().manual_seed(5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                nn.init.uniform_(values, 0.7, 1.3, generator=random)
            for values in (module.bias, module.running_mean):
                nn.init.uniform_(values, -0.2, 0.3, generator=random)
