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
    """That epoch by number, counted from 0, in place of the fraction; with --restarts as the same
    fraction after each."""

    def start(self, epochs: int) -> float:
        """Where deferred weights begin in a schedule of that many epochs, as a fraction of them."""
        if self.reweight_from_epoch is None:
            return self.reweight_from
        return self.reweight_from_epoch / max(1, epochs)


@dataclass(frozen=True)
class ImbalanceConfig:
    """Imbalance handled without labels, each kind by its switch, by margins and late weights."""

    balance_turns: bool = False
    """Balance the four turns in the rotation loss, which images without an "up" make unequal; needs
    --upright. The rotation head then gives cosines, times --scale, as LDAM's does."""
    balance_agnostic: bool = False
    """Balance images without an "up" against the others in the rotation loss; needs --upright, and
    gives cosines too."""
    agnostic_threshold: Fraction = 0.5
    """Images with this agnostic score or more count as having no "up"."""
    balance_semantic: bool = False
    """Balance kinds of images in the invariance and instance losses."""
    counts: Literal["clusters", "labels"] = "clusters"
    """What those kinds are: clusters of embeddings, or labels, whose use is reported."""
    num_clusters: Annotated[int, Bounds(at_least=2)] = 10
    """Number of clusters."""
    cluster_every: Count = 5
    """Epochs from one clustering to the next; before the first there are no kinds."""

    @property
    def balances_rotation(self) -> bool:
        """Whether the rotation loss is balanced, for which its head gives cosines."""
        return self.balance_turns or self.balance_agnostic

    @property
    def reads_labels(self) -> bool:
        """Whether labels are counted."""
        return self.balance_semantic and self.counts == "labels"
