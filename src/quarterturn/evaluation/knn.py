"""The weighted k-nearest-neighbour classifier (Wu et al., CVPR 2018, section 3.4).

Shapes: n training and m test examples; D feature width; C classes.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

TEMPERATURE = 0.07


def knn_predict(
    train: NDArray[np.float32],
    train_labels: NDArray[np.int64],
    test: NDArray[np.float32],
    ks: tuple[int, ...] = (20, 200),
    *,
    num_classes: int,
    chunk: int = 1024,
) -> dict[int, NDArray[np.int64]]:
    """Predict classes by the cosine of each test example to all training examples.

    Each of the k nearest votes for its class with weight exp(cosine / 0.07).

    Args:
        train: (n, D) features.
        train_labels: (n,) classes.
        test: (m, D) features.
        ks: Numbers of neighbours; those above n use all n.
        num_classes: C.
        chunk: Test examples at a time, which bounds the memory.

    Returns:
        k to (m,) predicted classes.
    """
    known = F.normalize(torch.from_numpy(train), dim=1)
    labels = torch.from_numpy(train_labels)
    most = min(max(ks), len(known))
    predictions: dict[int, list[Tensor]] = {k: [] for k in ks}
    for part in torch.from_numpy(test).split(chunk):
        cosines, nearest = (F.normalize(part, dim=1) @ known.T).topk(most, dim=1)
        votes = (cosines / TEMPERATURE).exp()
        for k in ks:
            tally = torch.zeros(len(part), num_classes)
            tally.scatter_add_(1, labels[nearest[:, :k]], votes[:, :k])
            predictions[k].append(tally.argmax(dim=1))
    return {k: torch.cat(parts).numpy() for k, parts in predictions.items()}
