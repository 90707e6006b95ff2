"""Options of instance discrimination by a memory bank, for the methods that have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from quarterturn.config.bounds import FractionBelowOne, NoiseCount, Positive, PositiveOrZero, Width
from quarterturn.config.method import MethodOptions


@dataclass(frozen=True)
class DiscriminationOptions(MethodOptions):
    """The instance loss, its noise samples and its memory bank."""

    has_instance_loss: ClassVar[bool] = True

    instance_weight: PositiveOrZero = 1.0
    """Weight of the instance loss in the total."""
    instance_loss: Literal["nce", "infonce"] = "infonce"
    """The paper's nce with a constant normaliser, or the robust infonce."""
    noise: Literal["per-image", "shared"] = "shared"
    """Draw noise samples for each image (the paper's), or once a batch (one matrix product)."""
    num_noise: NoiseCount = 4096
    """Noise samples for each image or batch (K)."""
    temperature: Positive = 0.2
    """Divides the similarities in the instance loss."""
    bank_momentum: FractionBelowOne = 0.5
    """Share of its old value that a row of the memory bank keeps at an update."""
    embedding_dim: Width = 128
    """Width of the normalised embedding that the instance loss compares."""
