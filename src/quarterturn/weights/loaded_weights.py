"""A network loaded from a file, with its origin."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from quarterturn.errors import CheckpointError
from quarterturn.methods.base import Network
from quarterturn.methods.configuration import Config
from quarterturn.runs import Imported


@dataclass(frozen=True)
class Weights:
    """The content of a file of weights.

    Attributes:
        network: Backbone, and the heads that came with it, in eval mode.
        config: Configuration of the network and of the images that it expects. For another code's
            weights, its training settings are only the epochs, 0 if the file does not say.
        imported: The file's origin.
        epochs: Epochs done.
        fingerprint: Fingerprint of the training images, if known.
        origin: Of the weights that their training began with, where somebody else trained those.
        left_out: Names of tensors without a counterpart here.
        class_names: Of a classifier, in the order of its logits; else empty.
    """

    network: Network
    config: Config
    imported: Imported
    epochs: float
    fingerprint: str | None = None
    origin: Imported | None = None
    left_out: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()


def require_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights with NaN or infinity, of which every feature would be NaN.

    Raises:
        CheckpointError: Names the tensors.
    """
    wrong = [
        f"{name} ({int((~tensor.isfinite()).sum()):,} of {tensor.numel():,} values)"
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more tensors" if len(wrong) > 5 else ""
        raise CheckpointError(
            f"NaN or infinity in {', '.join(wrong[:5])}{more}: the training that made these "
            "weights has diverged, or the file is damaged; import an earlier checkpoint"
        )


def sha256(path: Path) -> str:
    """The hash of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
