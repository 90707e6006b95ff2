"""A place on a map for every image, so that images alike lie side by side.

Shapes: n images; D feature width.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from quarterturn.features.nearest_neighbors import find_nearest
from quarterturn.progress import stage
from quarterturn.randomness import permutation

MOST_EMBEDDED = 20_000
"""Images that t-SNE places itself: its time grows faster than their number."""
COMPONENTS = 50
"""Principal components that t-SNE is given, as van der Maaten and Hinton (JMLR 2008) do."""
PERPLEXITY = 30.0
ITERATIONS = 500
"""Of gradient descent, half of them with exaggeration. On 2,000 photos another 500 lower the
divergence by 5 % and double the time."""
NEIGHBORS = 5
"""An image beyond `MOST_EMBEDDED` lies at the mean of the places of its N nearest."""


def map_places(
    features: NDArray[np.float32], *, seed: int = 0, most: int = MOST_EMBEDDED
) -> NDArray[np.float32]:
    """t-SNE of the features' directions.

    Args:
        features: (n, D).
        seed: Fixes the map, and which images are placed by t-SNE where there are more than
            ``most``.
        most: Images that t-SNE places; the others follow their nearest neighbours among them.

    Returns:
        (n, 2) within the unit square, at the same scale in both directions.
    """
    num_images = len(features)
    embedded = permutation(num_images, seed, "map")[:most].sort().values.numpy()
    places = np.empty((num_images, 2), np.float32)
    with stage("map"):
        places[embedded] = _embed(_directions(features[embedded]), seed)
        others = np.setdiff1d(np.arange(num_images), embedded)
        if len(others):
            nearest = find_nearest(features[embedded], features[others], NEIGHBORS).rows.numpy()
            places[others] = places[embedded[nearest]].mean(axis=1)
    places -= places.min(axis=0)
    extent = places.max(axis=0)
    return (places + (extent.max() - extent) / 2) / max(float(extent.max()), 1e-12)


def _directions(features: NDArray[np.float32]) -> NDArray[np.float32]:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _embed(directions: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """(n, 2) places by t-SNE after PCA."""
    num_images = len(directions)
    components = min(COMPONENTS, *directions.shape)
    reduced = PCA(components, random_state=seed).fit_transform(directions)
    tsne = TSNE(
        init="pca",
        perplexity=min(PERPLEXITY, (num_images - 1) / 3),
        max_iter=ITERATIONS,
        random_state=seed,
    )
    found: NDArray[np.float32] = tsne.fit_transform(reduced)
    return found
