"""Read third-party weights as one of our networks."""

from __future__ import annotations

from pathlib import Path

from quarterturn.errors import CheckpointError
from quarterturn.methods.build import build_network
from quarterturn.runs import Imported
from quarterturn.weights.layouts import recognise
from quarterturn.weights.loaded_weights import Weights, sha256
from quarterturn.weights.tensor_file import TensorFile, read_tensors

BESIDE = ("classifier_net_", "norm_net_")
"""Prefixes of the original code's files for the heads, beside ``feature_net_`` for the backbone."""


def read_third_party(path: Path, backbone: str | None = None) -> Weights:
    """Read another code's weights.

    Args:
        path: A checkpoint of FeatureDecoupling (``feature_net_epochN``, with the files of its heads
            if they lie beside it) or RotNet, or weights of torchvision's or timm's.
        backbone: Our backbone for the weights; required only for ``timm:NAME``.

    Raises:
        CheckpointError: The file is missing or damaged, holds more than tensors, or does not fit;
            lists the tensors that do not.
        ConfigError: The weights belong to another backbone.
    """
    found = _with_heads_beside(path)
    try:
        layout = recognise(found.tensors, backbone)
        network = build_network(layout.config)
        network.keep_heads(layout.heads)
        state, left_out = layout.translate(found.tensors, network.state_dict())
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    network.load_state_dict(state)
    epochs = found.epochs or 0
    return Weights(
        network.eval(),
        layout.config.with_settings(epochs=epochs),
        Imported(path.name, sha256(path), layout.name, layout.heads),
        epochs,
        left_out=tuple(left_out),
    )


def _with_heads_beside(path: Path) -> TensorFile:
    found = read_tensors(path)
    if path.name.startswith("feature_net_"):
        for prefix in BESIDE:
            beside = path.with_name(path.name.replace("feature_net_", prefix, 1))
            if beside.exists():
                found.tensors.update(read_tensors(beside).tensors)
    return found
