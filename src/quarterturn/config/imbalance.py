"""Classes of unequal size: which are balanced, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from quarterturn.config.bounds import (
    Bounds,
    Count,
    CountOrZero,
    Fraction,
    FractionBelowOne,
    Positive,
    PositiveOrZero,
)


@dataclass(frozen=True)
class BalanceConfig:
    """Margins and late weights for classes of unequal size, wherever they are asked for."""

    max_margin: PositiveOrZero = 0.5
    """LDAM's margin of the rarest class, on cosines."""
    scale: Positive = 30.0
    """Multiplies the cosines in LDAM."""
    beta: FractionBelowOne = 0.9999
    """Of effective numbers: 0 weighs all classes alike, near 1 by the inverse of their images."""
    reweight_from: Fraction = 160 / 200
    """Fraction of the epochs at which deferred weights begin."""
    reweight_from_epoch: CountOrZero | None = None
    """That epoch by number, counted from 0, in place of the fraction."""

    def start(self, epochs: int) -> float:
        """Where deferred weights begin in a run of num_epochs, as a fraction of them."""
        if self.reweight_from_epoch is None:
            return self.reweight_from
        return self.reweight_from_epoch / max(1, epochs)


@dataclass(frozen=True)
class ImbalanceConfig:
    """Imbalance handled without labels, each kind by its switch, by margins and late weights."""

    balance_turns: bool = False
    """The four turns, unequal by what looks upright in several of them, in the rotation loss; needs
    --upright. The rotation head then takes cosines, times --scale, as LDAM does."""
    balance_agnostic: bool = False
    """Images without an "up" against the others, in the rotation loss; needs --upright, and takes
    cosines too."""
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
