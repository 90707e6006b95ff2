"""Read third-party weights as one of our networks."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.methods.build import build_network
from quarterturn.runs import Imported
from quarterturn.weights.layouts import recognise
from quarterturn.weights.loaded_weights import Weights, require_finite, sha256
from quarterturn.weights.prefixes import network_in
from quarterturn.weights.tensor_file import TensorFile, read_tensors

logger = logging.getLogger(__name__)

BESIDE = ("classifier_net_", "norm_net_")
"""Prefixes of the original code's files for the heads, beside ``feature_net_`` for the backbone."""


def read_third_party(
    path: Path,
    backbone: str | None = None,
    *,
    prefix: str | None = None,
    averaged: bool = False,
) -> Weights:
    """Read another code's weights.

    Args:
        path: A checkpoint of FeatureDecoupling (``feature_net_epochN``, with the files of its heads
            if they lie beside it) or RotNet, or weights of torchvision's or timm's.
        backbone: Our backbone for the weights; required only for ``timm:NAME``.
        prefix: What the names of the network's tensors begin with; None to look for it.
        averaged: Take moving averages of the weights.

    Raises:
        CheckpointError: The file is missing or damaged, holds more than tensors, does not fit, or
            its weights are not finite; lists the tensors.
        ConfigError: The weights belong to another backbone, or there are no moving averages.
    """
    found = _with_heads_beside(path, averaged)
    try:
        part = network_in(
            found.tensors, backbone, prefix=prefix, averaged=averaged and not found.averaged
        )
        layout = recognise(part.tensors, backbone)
        network = build_network(layout.config)
        network.keep_heads(layout.heads)
        state, left_out = layout.translate(part.tensors, network.state_dict())
        used = {part.prefix + layout.theirs(name): tensor for name, tensor in state.items()}
        require_finite(used)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    for words in filter(None, (found.words, part.words)):
        logger.info(words)
    network.load_state_dict(state)
    epochs = found.epochs or 0
    return Weights(
        network.eval(),
        layout.config.with_settings(epochs=epochs),
        Imported(
            path.name,
            sha256(path),
            layout.name,
            layout.heads,
            part=".".join(filter(None, (found.key, part.prefix.rstrip(".")))),
        ),
        epochs,
        left_out=tuple(left_out),
    )


def _with_heads_beside(path: Path, averaged: bool) -> TensorFile:
    found = read_tensors(path, averaged=averaged)
    if path.name.startswith("feature_net_"):
        for prefix in BESIDE:
            beside = path.with_name(path.name.replace("feature_net_", prefix, 1))
            if beside.exists():
                tensors = found.tensors | read_tensors(beside).tensors
                found = replace(found, tensors=tensors)
    return found
