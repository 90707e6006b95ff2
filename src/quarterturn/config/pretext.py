"""What is learned without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quarterturn.config.require import require

MethodName = Literal["decoupling", "rotnet", "instance", "classifier", "imported"]


@dataclass(frozen=True)
class MethodConfig:
    """What is learned."""

    method: MethodName = "decoupling"
    """decoupling (both halves), rotnet (rotation alone) or instance (no turns). classifier is what
    finetune trains; imported is a backbone that was trained elsewhere by another method."""
    rotation_weight: float = 1.0
    """Weight of the rotation loss in the total."""
    invariance_weight: float = 1.0
    """Weight of the invariance loss in the total."""
    instance_weight: float = 1.0
    """Weight of the instance loss in the total."""
    instance_loss: Literal["nce", "infonce"] = "infonce"
    """The paper's nce with a constant normaliser, or the robust infonce."""
    noise: Literal["per-image", "shared"] = "shared"
    """Draw noise samples for each image (the paper's), or once a batch (one matrix product)."""
    num_noise: int = 4096
    """Noise samples for each image or batch (K)."""
    temperature: float = 0.2
    """Divides the similarities in the instance loss."""
    bank_momentum: float = 0.5
    """Share of its old value that a row of the memory bank keeps at an update."""
    upright: str = "none"
    """Probabilities that images look upright, which weight the rotation loss in the noise-aware
    phase: a file or run that `quarterturn upright` made, auto to make them first, or none."""
    gamma: float = 2.0
    """A turned copy weighs 1 - p_upright ** gamma in the noise-aware phase."""
    fold_preset: str | None = None
    """Recipe of the networks that --upright auto trains; by default the run's own, as rotnet."""
    fold_epochs: int | None = None
    """Their epochs; by default that recipe's, or the paper's 50/245 of the run's own."""

    def check(self) -> None:
        """Refuse values that cannot work; see `Config.check`."""
        require(self.method != "imported", "method", self.method, "decoupling, rotnet or instance")
        require(self.temperature > 0, "temperature", self.temperature, "a positive number")
        require(self.num_noise >= 1, "num-noise", self.num_noise, "at least 1")
        require(0 <= self.bank_momentum < 1, "bank-momentum", self.bank_momentum, "0 to below 1")
        require(self.gamma > 0, "gamma", self.gamma, "a positive number")
        every = self.fold_epochs
        require(every is None or every >= 1, "fold-epochs", every, "1 or more")
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
    agnostic_threshold: float = 0.5
    """Agnostic score from which an image counts as having no "up"."""
    balance_semantic: bool = False
    """Kinds of images, by clusters of their embeddings, in the invariance and instance losses."""
    counts: Literal["clusters", "labels"] = "clusters"
    """What those kinds are; labels are read, and it is said so, where you ask for them."""
    num_clusters: int = 10
    """How many clusters."""
    cluster_every: int = 5
    """Epochs between one clustering and the next; there are none before the first."""

    @property
    def of_rotation(self) -> bool:
        """Whether the rotation loss is balanced, which takes cosines."""
        return self.balance_turns or self.balance_agnostic

    @property
    def reads_labels(self) -> bool:
        """Whether labels are counted."""
        return self.balance_semantic and self.counts == "labels"

    def check(self) -> None:
        """Refuse values that cannot work; see `Config.check`."""
        require(
            0 <= self.agnostic_threshold <= 1,
            "agnostic-threshold",
            self.agnostic_threshold,
            "a score from 0 to 1",
        )
        require(self.num_clusters >= 2, "num-clusters", self.num_clusters, "2 or more")
        require(self.cluster_every >= 1, "cluster-every", self.cluster_every, "1 or more")


@dataclass(frozen=True)
class UprightConfig:
    """Cross-fitting of rotation networks, which tells the images that have an "up"."""

    folds: int = 5
    """Networks; each scores the images of its fold, which it has not seen."""
    validation: float = 0.1
    """Share of the other folds' images that stop a network early and scale its temperature, at
    most 5,000 of them."""
    patience: float = 0.25
    """Stop a network when its validation loss has not improved for this fraction of the epochs; 1
    trains to the end. The epoch of the least loss is used either way."""
    view_crops: Literal[1, 5] = 5
    """Views of each image that are averaged: the centre crop, or the corners' as well. All are
    mirrored too, where the training mirrors."""

    def check(self) -> None:
        """Refuse values that cannot work; see `Config.check`."""
        require(self.folds >= 2, "folds", self.folds, "2 or more")
        require(
            0 < self.validation <= 0.5,
            "validation",
            self.validation,
            "a fraction above 0, up to 0.5",
        )
        require(0 < self.patience <= 1, "patience", self.patience, "a fraction above 0, up to 1")
