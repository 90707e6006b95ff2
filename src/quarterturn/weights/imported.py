"""A file of weights as a network of ours, with all that is known about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from quarterturn.config import Config
from quarterturn.errors import CheckpointError
from quarterturn.methods.base import Network
from quarterturn.methods.registry import build_network
from quarterturn.runs import Imported
from quarterturn.weights.layouts import recognise
from quarterturn.weights.reading import TensorFile, read_tensors

BESIDE = ("classifier_net_", "norm_net_")
"""What the original code calls the files of its heads, where the backbone's is ``feature_net_``."""


@dataclass(frozen=True)
class Weights:
    """A trained network and what is known about it.

    Attributes:
        network: Backbone, and the heads that came with it, in eval mode.
        config: What makes such a network, with the images that it expects. Of the training's
            settings only the epochs are known, and only where the file says so; else they are 0.
        imported: Where it comes from.
        fingerprint: Of the images that it learned from, where that is known.
        left_out: Names of tensors that have no place here.
    """

    network: Network
    config: Config
    imported: Imported
    fingerprint: str | None = None
    left_out: tuple[str, ...] = ()


def read_weights(path: Path | str, backbone: str | None = None) -> Weights:
    """Read a file of weights.

    Args:
        path: A checkpoint of FeatureDecoupling (``feature_net_epochN``; the files of its heads are
            read where they lie beside it) or RotNet, or weights of torchvision's or timm's.
        backbone: Ours that the weights are for; told by their names unless it is ``timm:NAME``.

    Raises:
        CheckpointError: The file is missing, damaged, holds more than tensors, or does not fit;
            lists the tensors that do not.
        ConfigError: The weights are for another backbone than the one asked for.
    """
    path = Path(path)
    found = _with_heads_beside(path)
    try:
        layout = recognise(found.tensors, backbone)
        network = build_network(layout.config)
        network.keep_heads(layout.heads)
        state, left_out = layout.translate(found.tensors, network.state_dict())
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    network.load_state_dict(state)
    config = layout.config.with_settings(epochs=found.epochs or 0)
    imported = Imported(path.name, _sha256(path), layout.name, layout.heads)
    return Weights(network.eval(), config, imported, left_out=tuple(left_out))


def _with_heads_beside(path: Path) -> TensorFile:
    found = read_tensors(path)
    if path.name.startswith("feature_net_"):
        for prefix in BESIDE:
            beside = path.with_name(path.name.replace("feature_net_", prefix, 1))
            if beside.exists():
                found.tensors.update(read_tensors(beside).tensors)
    return found


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
