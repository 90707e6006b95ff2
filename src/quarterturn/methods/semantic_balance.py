"""Imbalance between kinds of images, by labels or by clusters of their embeddings.

Shapes: N images; B in a batch; E embedding width; C kinds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from quarterturn.config import BalanceConfig
from quarterturn.methods.class_balance import Balance
from quarterturn.progress import stage


class SemanticBalance:
    """Margins and weights of the images by their kind, in the instance and invariance losses.

    Kinds are labels where they are given, else clusters of embeddings, by scikit-learn's
    MiniBatchKMeans, made anew every few epochs; before the first time there are none, since
    embeddings are random until something has been learned.

    Args:
        settings: Margins and weights.
        num_clusters: C, where there are no labels; fewer where there are fewer images.
        every: Epochs between one clustering and the next.
        seed: Fixes the clusters.
        labels: (N,) int64 on the CPU, or None.
        device: Where the batches are.
    """

    def __init__(
        self,
        settings: BalanceConfig,
        *,
        num_clusters: int,
        every: int,
        seed: int = 0,
        labels: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.settings, self.num_clusters, self.every, self.seed = (
            settings,
            num_clusters,
            every,
            seed,
        )
        self.by_labels, self.device = labels is not None, device
        self.class_of: Tensor | None = None
        self.balance: Balance | None = None
        if labels is not None:
            self._set(labels)

    def is_due(self, epoch: int) -> bool:
        """Whether clusters are made before this epoch."""
        return not self.by_labels and epoch > 0 and epoch % self.every == 0

    def cluster(self, rows: Tensor) -> None:
        """Cluster (N, E) embeddings of the images."""
        from sklearn.cluster import MiniBatchKMeans  # takes longer to load than torch

        number = min(self.num_clusters, len(rows))
        clusters = MiniBatchKMeans(number, random_state=self.seed, n_init=3)
        with stage("clusters", weight=0):  # its time is within that of the epochs
            numbers = clusters.fit_predict(rows.cpu().numpy())
        self._set(torch.from_numpy(numbers).long())

    def _set(self, class_of: Tensor) -> None:
        minimum = 0 if self.by_labels else self.num_clusters
        counts = torch.bincount(class_of, minlength=minimum)
        self.balance = Balance.of(counts, self.settings, self.device)
        self.class_of = class_of.to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"class_of": self.class_of}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        if state["class_of"] is not None:
            self._set(state["class_of"].cpu().clone())
