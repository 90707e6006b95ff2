"""The weighted k-nearest-neighbour classifier (Wu et al., CVPR 2018, section 3.4).

Shapes: n training and m test examples; D feature width; C classes.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.data.row_subset import Matrix

TEMPERATURE = 0.07
BLOCK_BYTES = 2**27
"""Of training features that are in memory at once, and of their cosines."""


def knn_predict(
    train: Matrix,
    train_labels: NDArray[np.int64],
    test: Matrix,
    ks: tuple[int, ...] = (20, 200),
    *,
    num_classes: int,
    chunk: int = 1024,
    block_bytes: int = BLOCK_BYTES,
) -> dict[int, NDArray[np.int64]]:
    """Predict classes by the cosine of each test example to all training examples.

    Each of the k nearest votes for its class with weight exp(cosine / 0.07). Features are read in
    parts, so memory-mapped ones may be larger than the memory.

    Args:
        train: (n, D) features.
        train_labels: (n,) classes.
        test: (m, D) features.
        ks: Numbers of neighbours; those above n use all n.
        num_classes: C.
        chunk: Test examples at a time.
        block_bytes: Size of the training features that a chunk is compared with at a time, and of
            the cosines.

    Returns:
        k to (m,) predicted classes.
    """
    cosines, nearest = nearest_rows(train, test, max(ks), chunk=chunk, block_bytes=block_bytes)
    votes = (cosines / TEMPERATURE).exp()
    labels = torch.from_numpy(train_labels)[nearest]
    predictions = {}
    for k in ks:
        tally = torch.zeros(len(test), num_classes)
        tally.scatter_add_(1, labels[:, :k], votes[:, :k])
        predictions[k] = tally.argmax(dim=1).numpy()
    return predictions


def nearest_rows(
    train: Matrix, test: Matrix, most: int, *, chunk: int, block_bytes: int
) -> tuple[Tensor, Tensor]:
    """The training examples that are nearest to each test example; arguments as above.

    Returns:
        (m, k) cosines, descending, and (m, k) numbers of the rows, with k = min(most, n).
    """
    most = min(most, len(train))
    cosines = torch.full((len(test), most), -torch.inf)
    nearest = torch.zeros(len(test), most, dtype=torch.int64)
    block = max(1, block_bytes // (4 * max(train.shape[1], chunk)))
    for start in range(0, len(train), block):
        known = F.normalize(torch.from_numpy(train[start : start + block]), dim=1)
        for begin in range(0, len(test), chunk):
            part = slice(begin, begin + chunk)
            found = F.normalize(torch.from_numpy(test[part]), dim=1) @ known.T
            best, rows = found.topk(min(most, len(known)), dim=1)
            best = torch.cat([cosines[part], best], dim=1)
            rows = torch.cat([nearest[part], rows + start], dim=1)
            cosines[part], order = best.topk(most, dim=1)
            nearest[part] = rows.gather(1, order)
    return cosines, nearest
