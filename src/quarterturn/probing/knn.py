"""The weighted k-nearest-neighbour classifier (Wu et al., CVPR 2018, section 3.4).

Shapes: n training and m test examples; D feature width; C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from quarterturn.data.row_subset import Matrix
from quarterturn.features.nearest_neighbors import BLOCK_BYTES, QUERIES_PER_BLOCK, find_nearest

TEMPERATURE = 0.07


def knn_predict(
    train: Matrix,
    train_labels: NDArray[np.int64],
    test: Matrix,
    ks: tuple[int, ...] = (20, 200),
    *,
    num_classes: int,
    queries_per_block: int = QUERIES_PER_BLOCK,
    block_bytes: int = BLOCK_BYTES,
) -> dict[int, NDArray[np.int64]]:
    """Predict classes by the cosines of each test example to the training examples.

    Each of the k nearest votes for its class with weight exp(cosine / 0.07).

    Args:
        train: (n, D) features.
        train_labels: (n,) classes.
        test: (m, D) features.
        ks: Numbers of neighbours; those above n use all n.
        num_classes: C.
        queries_per_block: See `find_nearest`, as for the next.
        block_bytes: See there.

    Returns:
        k to (m,) predicted classes.
    """
    nearest = find_nearest(
        train, test, max(ks), queries_per_block=queries_per_block, block_bytes=block_bytes
    )
    votes = (nearest.cosines / TEMPERATURE).exp()
    labels = torch.from_numpy(train_labels)[nearest.rows]
    predictions = {}
    for k in ks:
        tally = torch.zeros(len(test), num_classes)
        tally.scatter_add_(1, labels[:, :k], votes[:, :k])
        predictions[k] = tally.argmax(dim=1).numpy()
    return predictions
