"""A trained network with all that is known about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from quarterturn.config import Config
from quarterturn.methods.base import Network
from quarterturn.runs import Imported


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Attributes:
        network: Backbone, and the heads that came with it, in eval mode.
        config: What makes such a network, with the images that it expects. Of weights of another
            code no more is known of the training than the epochs, and these only where the file
            says them; else they are 0.
        imported: Where it comes from.
        epochs: Epochs done.
        fingerprint: Of the images that it learned from, where that is known.
        left_out: Names of tensors that have no place here.
    """

    network: Network
    config: Config
    imported: Imported
    epochs: float
    fingerprint: str | None = None
    left_out: tuple[str, ...] = ()


def sha256(path: Path) -> str:
    """The hash of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
