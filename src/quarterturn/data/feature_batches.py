"""Batches of features that were extracted before, in place of images.

Shapes: N images; B in a batch; d values of all their features together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.data.batches import Batch, batch_slices
from quarterturn.data.row_subset import Matrix
from quarterturn.data.sampling import epoch_order


class FeatureBatches:
    """The batches of any epoch, as `quarterturn.data.batches.TrainingBatches` has them.

    Args:
        features: (N, ...) each, perhaps memory-mapped: only a batch's rows are read.
        labels: (N,) classes.
        batch_size: Rows in a batch.
        seed: The run's seed.
        device: Where the batches are wanted.
        draws: Rows shown in an epoch, each as often as any other, give or take one; N without.
    """

    def __init__(
        self,
        features: Sequence[Matrix],
        labels: NDArray[np.int64],
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        draws: int | None = None,
    ) -> None:
        self.features, self.seed = features, seed
        self.labels = torch.from_numpy(labels)
        self.device, self.draws = torch.device(device), draws or len(labels)
        self.slices = batch_slices(self.draws, batch_size)
        self.failed: dict[int, str] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.slices)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from number ``first`` on; ``images`` are (B, d) features."""
        num_rows = len(self.labels)
        order = epoch_order(num_rows, self.seed, epoch, self.draws) % num_rows
        there: Any = {"device": self.device, "non_blocking": True}
        for s in self.slices[first:]:
            indices = order[s]
            found = flat_rows(self.features, indices.numpy())
            yield Batch(indices.to(**there), found.to(**there), self.labels[indices].to(**there))

    def note_failed(self, failed: dict[int, str]) -> None:
        """Nothing is decoded here, so nothing can fail."""


def flat_rows(features: Sequence[Matrix], rows: NDArray[np.int64]) -> Tensor:
    """(B, d) some rows of all arrays, each flattened, side by side."""
    parts = [torch.from_numpy(array[rows]).flatten(1) for array in features]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
