"""Batches of extracted features, in place of images.

Shapes: N images; B images in a batch; d width of all features together.
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
    """The batches of any epoch, like `quarterturn.data.batches.TrainingBatches`.

    Args:
        features: (N, ...) each; may be memory-mapped, since only a batch's rows are read.
        labels: (N,) classes.
        batch_size: Rows in a batch.
        seed: The run's seed.
        device: Device of the batches.
        draws: Rows in an epoch, each drawn equally often, give or take one; N by default.
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
        self.changed: set[int] = set()

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.slices)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, starting at number ``first``; ``images`` are (B, d) features."""
        num_rows = len(self.labels)
        order = epoch_order(num_rows, self.seed, epoch, self.draws) % num_rows
        to_device: Any = {"device": self.device, "non_blocking": True}
        for s in self.slices[first:]:
            indices = order[s]
            rows = flat_rows(self.features, indices.numpy())
            labels = self.labels[indices]
            yield Batch(indices.to(**to_device), rows.to(**to_device), labels.to(**to_device))

    def note_failed(self, failed: dict[int, str]) -> None:
        """Do nothing: features are not decoded, so none can fail."""


def flat_rows(features: Sequence[Matrix], rows: NDArray[np.int64]) -> Tensor:
    """(B, d) the given rows of all arrays, flattened and concatenated."""
    parts = [torch.from_numpy(array[rows]).flatten(1) for array in features]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
