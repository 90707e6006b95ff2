"""What is learned without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from quarterturn.config.bounds import (
    Bounds,
    Count,
    Fraction,
    FractionBelowOne,
    Positive,
    PositiveFraction,
    PositiveOrZero,
)
from quarterturn.config.validation import require

MethodName = Literal["decoupling", "rotnet", "instance", "classifier", "imported"]


@dataclass(frozen=True)
class MethodConfig:
    """What is learned."""

    method: MethodName = "decoupling"
    """decoupling (both halves), rotnet (rotation alone) or instance (no turns). classifier is what
    finetune trains; imported is a backbone that was trained elsewhere by another method."""
    rotation_weight: PositiveOrZero = 1.0
    """Weight of the rotation loss in the total."""
    invariance_weight: PositiveOrZero = 1.0
    """Weight of the invariance loss in the total."""
    instance_weight: PositiveOrZero = 1.0
    """Weight of the instance loss in the total."""
    instance_loss: Literal["nce", "infonce"] = "infonce"
    """The paper's nce with a constant normaliser, or the robust infonce."""
    noise: Literal["per-image", "shared"] = "shared"
    """Draw noise samples for each image (the paper's), or once a batch (one matrix product)."""
    num_noise: Count = 4096
    """Noise samples for each image or batch (K)."""
    temperature: Positive = 0.2
    """Divides the similarities in the instance loss."""
    bank_momentum: FractionBelowOne = 0.5
    """Share of its old value that a row of the memory bank keeps at an update."""
    upright: str = "none"
    """Probabilities that images look upright, which weight the rotation loss in the noise-aware
    phase: a file or run that `quarterturn upright` made, auto to make them first, or none."""
    gamma: Positive = 2.0
    """A turned copy weighs 1 - p_upright ** gamma in the noise-aware phase."""
    fold_preset: str | None = None
    """Recipe of the networks that --upright auto trains; by default the run's own, as rotnet."""
    fold_epochs: Count | None = None
    """Their epochs; by default that recipe's, or the paper's 50/245 of the run's own."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        require(self.method != "imported", "method", self.method, "decoupling, rotnet or instance")
        require(
            self.upright == "none" or self.method != "instance",
            "upright",
            self.upright,
            "none with --method instance, which has no rotation loss",
        )


@dataclass(frozen=True)
class ImbalanceConfig:
    """Imbalance handled without labels, each kind by its switch, by margins and late weights."""

    balance_turns: bool = False
    """The four turns, unequal by what looks upright in several of them, in the rotation loss; needs
    --upright. The rotation head then takes cosines, times --scale, as LDAM does."""
    balance_agnostic: bool = False
    """Images without an "up" against the others, in the rotation loss; needs --upright, and takes
    cosines as well."""
    agnostic_threshold: Fraction = 0.5
    """Agnostic score from which an image counts as having no "up"."""
    balance_semantic: bool = False
    """Kinds of images, by clusters of their embeddings, in the invariance and instance losses."""
    counts: Literal["clusters", "labels"] = "clusters"
    """What those kinds are; labels are read, and it is said so, where you ask for them."""
    num_clusters: Annotated[int, Bounds(at_least=2)] = 10
    """How many clusters."""
    cluster_every: Count = 5
    """Epochs between one clustering and the next; there are none before the first."""

    @property
    def of_rotation(self) -> bool:
        """Whether the rotation loss is balanced, which takes cosines."""
        return self.balance_turns or self.balance_agnostic

    @property
    def reads_labels(self) -> bool:
        """Whether labels are counted."""
        return self.balance_semantic and self.counts == "labels"


@dataclass(frozen=True)
class UprightConfig:
    """Cross-fitting of rotation networks, which tells the images that have an "up"."""

    folds: Annotated[int, Bounds(at_least=2)] = 5
    """Networks; each scores the images of its fold, which it has not seen."""
    validation: Annotated[float, Bounds(above=0, at_most=0.5)] = 0.1
    """Share of the other folds' images that stop a network early and scale its temperature, at
    most 5,000 of them."""
    patience: PositiveFraction = 0.25
    """Stop a network when its validation loss has not improved for this fraction of the epochs; 1
    trains to the end. The epoch of the least loss is used either way."""
    view_crops: Literal[1, 5] = 5
    """Views of each image that are averaged: the centre crop, or the corners' as well. All are
    mirrored too, where the training mirrors."""
