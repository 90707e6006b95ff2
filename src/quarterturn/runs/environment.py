"""Where and how a run was made: the command, versions, device, seed."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from quarterturn.config.entry_points import packages_of
from quarterturn.engine.runtime import Runtime
from quarterturn.methods.configuration import Config

PACKAGES = ("quarterturn", "torch", "torchvision", "numpy", "pillow", "scikit-learn")


def environment(runtime: Runtime, config: Config) -> dict[str, Any]:
    """Versions, commit, device, precision in force, threads and seed.

    The package that a method or backbone is from is among the versions.
    """
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    versions["torch"] = torch.__version__  # with the build: +cpu, +cu130
    versions |= packages_of(config.method.name, config.model.backbone)
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "commit": _commit(),
        "device": _device_name(runtime.device),
        "precision": runtime.precision,
        "processes": runtime.world_size,
        "threads": torch.get_num_threads(),
        "seed": config.run.seed,
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def _commit() -> str | None:
    """The commit of a source checkout; None for an installed package."""
    here = Path(__file__)

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=here.parent, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        # An installed package may lie within somebody's repository, which is not ours.
        git("ls-files", "--error-unmatch", here.name)
        return git("rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return None
