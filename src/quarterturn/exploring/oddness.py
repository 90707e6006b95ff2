"""How odd each image is: far from its nearest neighbours in the middle layers of a network.

Shapes: n images; d width of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from quarterturn.features.nearest_neighbors import find_nearest
from quarterturn.progress import stage
from quarterturn.randomness import permutation

NEIGHBOR = 5
"""The neighbour to which the distance counts, so that four copies of one odd image stay odd."""
MOST_COMPARED = 20_000
"""Images that each image is compared with, drawn from a larger collection."""


def oddness(layers: Mapping[str, NDArray[np.float32]], *, seed: int = 0) -> NDArray[np.float32]:
    """How odd each image is.

    In each layer it is the distance to the k-th neighbour (Ramaswamy et al., SIGMOD 2000), over
    the median of all such distances; of the layers the mean is taken.

    Args:
        layers: Name to (n, d).
        seed: Fixes which images are compared with where there are more than `MOST_COMPARED`.

    Returns:
        (n,) about 1 for an ordinary image, larger for odd ones.
    """
    num_images = len(next(iter(layers.values())))
    gallery = permutation(num_images, seed, "oddness")[:MOST_COMPARED].sort().values.numpy()
    own = np.full((num_images, 1), -1)
    own[gallery, 0] = np.arange(len(gallery))
    scores = []
    with stage("odd images", total=len(layers)) as bar:
        for values in layers.values():
            scores.append(_distances(values, gallery, own))
            bar.advance()
    return np.mean([score / max(float(np.median(score)), 1e-9) for score in scores], axis=0)


def _distances(
    values: NDArray[np.float32], gallery: NDArray[np.int64], own: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(n,) distance of directions to the k-th neighbour in the gallery."""
    nearest = find_nearest(values[gallery], values, NEIGHBOR, excluded=own)
    furthest = nearest.cosines[:, -1]
    return torch.sqrt((2 - 2 * furthest).clamp(min=0)).numpy()
