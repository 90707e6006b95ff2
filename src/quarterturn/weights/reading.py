"""Read a file of weights, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.weights.loaded_weights import Weights
from quarterturn.weights.safetensors import is_own, read_safetensors
from quarterturn.weights.third_party import read_third_party
from quarterturn.weights.timm_weights import timm_backbone_of


def read_weights(
    path: Path | str,
    backbone: str | None = None,
    *,
    prefix: str | None = None,
    ema: bool = False,
) -> Weights:
    """Read a file that ``quarterturn export --format safetensors`` or another code has written.

    Args:
        path: The file.
        backbone: Our backbone for the weights; required only for ``timm:NAME``, unless the file is
            named after it.
        prefix: What the names of the network's tensors begin with; None to look for it.
        ema: Take moving averages of the weights.

    Raises:
        CheckpointError: The file is missing, damaged, holds more than tensors, does not fit, or its
            weights are not finite.
        ConfigError: The weights are for another backbone than the one asked for, or there are no
            moving averages.
    """
    path = Path(path)
    if is_own(path):
        return _read_own(path, backbone, prefix=prefix, ema=ema)
    try:
        return read_third_party(path, backbone, prefix=prefix, averaged=ema)
    except CheckpointError:
        named = None if backbone is not None else timm_backbone_of(path)
        if named is None:
            raise
        return read_third_party(path, named, prefix=prefix, averaged=ema)


def _read_own(path: Path, backbone: str | None, *, prefix: str | None, ema: bool) -> Weights:
    """Read what `export_safetensors` wrote, which is one network and says which."""
    if prefix is not None or ema:
        raise ConfigError(
            f"--prefix and --ema are for other codes' files; {path} was written by quarterturn "
            "export and is one network"
        )
    weights = read_safetensors(path)
    if backbone not in (None, weights.config.model.backbone):
        raise ConfigError(
            f"--backbone {backbone}, but {path} is of {weights.config.model.backbone}"
        )
    return weights
