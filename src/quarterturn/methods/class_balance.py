"""Margins and weights for classes of unequal size, whatever the classes are.

Shapes: C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quarterturn.config import BalanceConfig
from quarterturn.losses.ldam import ldam_margins
from quarterturn.losses.weights import effective_number_weights


@dataclass(frozen=True)
class Balance:
    """What LDAM and re-weighting make of the sizes of some classes.

    Attributes:
        counts: (C,) images of each class, on the CPU; expected numbers need not be whole.
        margins: (C,) on the device of the batches, see `quarterturn.losses.ldam.ldam_margins`.
        weights: (C,) there too, see `quarterturn.losses.weights.effective_number_weights`.
    """

    counts: Tensor
    margins: Tensor
    weights: Tensor

    @classmethod
    def of(
        cls, counts: Tensor, settings: BalanceConfig, device: torch.device | str = "cpu"
    ) -> Balance:
        """By the configured constants; an empty class has no margin and no weight.

        A single class is balanced: it has a margin of 0 and a weight of 1.

        Args:
            counts: (C,) on the CPU.
            settings: Constants.
            device: Where margins and weights go.
        """
        if (counts > 0).sum() < 2:
            return cls(counts, torch.zeros(len(counts)).to(device), (counts > 0).float().to(device))
        return cls(
            counts,
            ldam_margins(counts, settings.max_margin, leave_out_empty=True).to(device),
            effective_number_weights(counts, settings.beta, leave_out_empty=True).to(device),
        )

    def to_record(self, in_force: bool) -> dict[str, Any]:
        """Plain values for the log."""
        weights = self.weights.tolist() if in_force else None
        return {
            "counts": self.counts.tolist(),
            "margins": self.margins.tolist(),
            "weights": weights,
        }
