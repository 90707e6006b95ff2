"""The memory bank: one slowly moving embedding per image of the data set."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from quarterturn.errors import CheckpointError


class InstanceBank:
    """Embeddings m (N, E), one row per image, as in Wu et al. (CVPR 2018, section 3).

    Deliberately not an ``nn.Module``: DistributedDataParallel would broadcast rank 0's buffers at
    each forward pass and overwrite the rows that other ranks have updated.

    Args:
        num_instances: N.
        dim: E.
        momentum: Weight of a row's old value in its update.
        seed: Fixes the initial rows, uniform in +-1/sqrt(E/3), with length 1 on average.

    Attributes:
        rows: (N, E) float32.
        normalizer: Z of the NCE loss, None until it is set.
    """

    def __init__(self, num_instances: int, dim: int, momentum: float = 0.5, seed: int = 0) -> None:
        bound = 1 / math.sqrt(dim / 3)
        generator = torch.Generator().manual_seed(seed)
        self.rows = torch.empty(num_instances, dim).uniform_(-bound, bound, generator=generator)
        self.momentum = momentum
        self.normalizer: Tensor | None = None

    @torch.no_grad()
    def update(self, indices: Tensor, embeddings: Tensor) -> None:
        """Set m_i to normalise(momentum * m_i + (1 - momentum) * v_i).

        Args:
            indices: (B,) int64, each image once.
            embeddings: (B, E), of length 1.
        """
        old = self.rows[indices]
        mixed = torch.lerp(embeddings.to(old.dtype), old, self.momentum)
        self.rows[indices] = F.normalize(mixed, dim=1)

    def to(self, device: torch.device | str) -> InstanceBank:
        """Move the rows; returns itself."""
        self.rows = self.rows.to(device)
        if self.normalizer is not None:
            self.normalizer = self.normalizer.to(device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"rows": self.rows, "normalizer": self.normalizer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy the state of a checkpoint, whose tensors may be on the disk.

        Raises:
            CheckpointError: The checkpoint's bank has another number of rows or another width.
        """
        if state["rows"].shape != self.rows.shape:
            raise CheckpointError(
                f"the checkpoint's memory bank is {tuple(state['rows'].shape)}, this run's is "
                f"{tuple(self.rows.shape)}: these are not the images that the run started with"
            )
        self.rows.copy_(state["rows"])
        normalizer = state["normalizer"]
        self.normalizer = None if normalizer is None else normalizer.to(self.rows.device, copy=True)
