"""The nearest-neighbour search: the rows of a gallery with the largest cosine to each query.

Shapes: n rows in the gallery; m queries; d feature width; k neighbours; e excluded rows per query.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.data.row_subset import Matrix
from quarterturn.features.extraction import Features

QUERIES_PER_BLOCK = 1024
BLOCK_BYTES = 2**27
"""Size of the gallery rows, and of the cosines to them, that are in memory at a time."""


@dataclass(frozen=True)
class Nearest:
    """The neighbours of m queries, nearest first.

    Attributes:
        cosines: (m, k) float32, descending.
        rows: (m, k) int64, the neighbours' rows in the gallery.
    """

    cosines: Tensor
    rows: Tensor


def find_nearest(
    gallery: Matrix,
    queries: Matrix,
    k: int,
    *,
    excluded: NDArray[np.int64] | None = None,
    queries_per_block: int = QUERIES_PER_BLOCK,
    block_bytes: int = BLOCK_BYTES,
) -> Nearest:
    """Find the k rows of a gallery with the largest cosine to each query.

    Rows with equal cosines keep the order of the gallery. Both matrices are read in blocks, so
    memory-mapped ones may be larger than the memory; features of any length are compared by
    direction only.

    Args:
        gallery: (n, d) features.
        queries: (m, d) features.
        k: Neighbours per query; all n - e where there are fewer.
        excluded: (m, e) gallery rows that are no neighbours of a query, each row once, such as
            the query's own; None excludes none.
        queries_per_block: Queries compared at a time.
        block_bytes: Memory for the gallery rows that they are compared with at a time, and for the
            cosines.
    """
    num_rows, num_queries = len(gallery), len(queries)
    num_excluded = 0 if excluded is None else excluded.shape[1]
    k = max(0, min(k, num_rows - num_excluded))
    cosines = torch.full((num_queries, k), -torch.inf)
    rows = torch.zeros(num_queries, k, dtype=torch.int64)
    if k == 0:
        return Nearest(cosines, rows)
    block_rows = max(1, block_bytes // (4 * max(gallery.shape[1], queries_per_block)))
    for start in range(0, num_rows, block_rows):
        block = F.normalize(torch.from_numpy(gallery[start : start + block_rows]), dim=1)
        for first in range(0, num_queries, queries_per_block):
            part = slice(first, first + queries_per_block)
            products = F.normalize(torch.from_numpy(queries[part]), dim=1) @ block.T
            if excluded is not None:
                _exclude(products, torch.from_numpy(excluded[part]) - start)
            values, columns = _top(products, k)
            # Earlier blocks stand first, so that equal cosines keep the order of the gallery.
            values = torch.cat([cosines[part], values], dim=1)
            columns = torch.cat([rows[part], columns + start], dim=1)
            order = values.argsort(dim=1, descending=True, stable=True)[:, :k]
            cosines[part], rows[part] = values.gather(1, order), columns.gather(1, order)
    return Nearest(cosines, rows)


def _exclude(products: Tensor, columns: Tensor) -> None:
    """Set the cosines at the (m, e) columns that lie in this block to -inf."""
    query, place = ((columns >= 0) & (columns < products.shape[1])).nonzero(as_tuple=True)
    products[query, columns[query, place]] = -torch.inf


def _top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The first k values and columns of a stable descending sort of each row, at topk's price."""
    width = values.shape[1]
    if k >= width:
        return values.sort(dim=1, descending=True, stable=True)
    best, columns = values.topk(k + 1, dim=1)
    is_cut = best[:, k - 1] == best[:, k]  # topk chose freely among equals at the end
    # topk orders equals freely, too: by columns first, then a stable sort by value.
    columns, order = columns[:, :k].sort(dim=1)
    best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
    columns = columns.gather(1, order)
    if is_cut.any():
        columns[is_cut] = values[is_cut].argsort(dim=1, descending=True, stable=True)[:, :k]
    return best, columns


@dataclass(frozen=True)
class SplitNeighbor:
    """A neighbour in a collection with splits.

    Attributes:
        split: Its split.
        index: Its number in the split.
        cosine: Cosine of its features to the query's, at most 1.
    """

    split: str
    index: int
    cosine: float


def nearest_in_splits(
    gallery: Mapping[str, Features],
    queries: NDArray[np.float32],
    k: int,
    excluded: Sequence[Collection[tuple[str, int]]],
) -> list[list[SplitNeighbor]]:
    """The k images of a collection nearest to each query, nearest first.

    Images with equal cosines keep the order of the collection.

    Args:
        gallery: Split to features (n, d).
        queries: (m, d) features.
        k: Number of neighbours; all where there are fewer.
        excluded: For each query, split and number of images to leave out.
    """
    found: list[list[SplitNeighbor]] = [[] for _ in queries]
    for split, features in gallery.items():
        most = max((sum(of == split for of, _ in left_out) for left_out in excluded), default=0)
        nearest = find_nearest(features.values, queries, k + most)
        for number, left_out in enumerate(excluded):
            rows, cosines = nearest.rows[number].tolist(), nearest.cosines[number].tolist()
            indices = features.indices[rows].tolist()
            found[number] += [
                SplitNeighbor(split, index, min(1.0, cosine))
                for index, cosine in zip(indices, cosines, strict=True)
                if (split, index) not in left_out
            ]
    return [sorted(one, key=lambda neighbor: -neighbor.cosine)[:k] for one in found]
