"""Any file of weights, by whomever it was written."""

from __future__ import annotations

from pathlib import Path

from quarterturn.errors import ConfigError
from quarterturn.weights.original import read_original
from quarterturn.weights.safetensors import is_own, read_safetensors
from quarterturn.weights.trained import Weights


def read_weights(path: Path | str, backbone: str | None = None) -> Weights:
    """Read a file that ``quarterturn export --format safetensors`` or another code has written.

    Args:
        path: The file.
        backbone: Ours that the weights are for; see `quarterturn.weights.original.read_original`.

    Raises:
        CheckpointError: The file is missing, damaged, holds more than tensors, or does not fit.
        ConfigError: The weights are for another backbone than the one asked for.
    """
    path = Path(path)
    if not is_own(path):
        return read_original(path, backbone)
    weights = read_safetensors(path)
    if backbone not in (None, weights.config.model.backbone):
        raise ConfigError(
            f"--backbone {backbone}, but {path} is of {weights.config.model.backbone}"
        )
    return weights
