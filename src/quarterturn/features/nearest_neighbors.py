"""The images of a collection most like one image.

Shapes: n images; d width of the features.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from quarterturn.features.extraction import Features

CHUNK = 65_536
"""Rows at a time, which bounds the memory: the features themselves may be memory-mapped."""


@dataclass(frozen=True)
class Near:
    """An image of a collection, and the cosine of its features to the query's."""

    split: str
    index: int
    cosine: float


def nearest(
    gallery: Mapping[str, Features],
    query: NDArray[np.float32],
    k: int,
    *,
    without: Collection[tuple[str, int]] = (),
) -> list[Near]:
    """The k images with the largest cosine, largest first.

    Equal ones keep the order of the collection.

    Args:
        gallery: Split to its features, (n, d).
        query: (d,) features.
        k: How many; all where there are fewer.
        without: Split and number of images that are left out.
    """
    target = torch.from_numpy(query)[None]
    near: list[Near] = []
    for split, features in gallery.items():
        chunks = torch.from_numpy(features.values).split(CHUNK)
        cosines = torch.cat([F.cosine_similarity(chunk, target) for chunk in chunks])
        left_out = [index for of, index in without if of == split]
        cosines[torch.from_numpy(np.isin(features.indices, left_out))] = -torch.inf
        order = cosines.argsort(descending=True, stable=True)[: min(k, len(cosines))]
        near += [
            Near(split, int(features.indices[row]), min(1.0, float(cosines[row])))
            for row in order.tolist()
            if cosines[row] > -torch.inf
        ]
    return sorted(near, key=lambda one: -one.cosine)[:k]
