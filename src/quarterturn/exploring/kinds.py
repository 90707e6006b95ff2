"""Clusters of a collection: how many, which images, and examples of each.

Shapes: n images; D feature width; C clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import silhouette_score

from quarterturn.features.nearest_neighbors import find_nearest
from quarterturn.pretraining.imbalance import by_size
from quarterturn.progress import stage
from quarterturn.randomness import permutation

NUMBERS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26, 30, 35, 40)
"""Numbers of clusters that are tried."""
FEWEST = 4
"""Fewer clusters than this say too little of a collection that is large enough for more."""
IMAGES_PER_CLUSTER = 8
"""On average, at least."""
MOST_JUDGED = 2_000
"""Images on which a number of clusters is judged: each is compared with each."""
MOST_BY_KMEANS = 20_000
"""Of more images than this k-means looks at batches."""
NUM_EXAMPLES = 12


@dataclass(frozen=True)
class Kinds:
    """Clusters of a collection.

    Attributes:
        cluster: (n,) number of each image's cluster, from the largest, 0, to the smallest.
        sizes: (C,) images of each cluster, descending.
        examples: Cluster to places among the n, the most central first.
        silhouette: Number of clusters to the mean silhouette, of those that were tried; empty where
            the number was given.
    """

    cluster: NDArray[np.int64]
    sizes: NDArray[np.int64]
    examples: list[NDArray[np.int64]]
    silhouette: dict[int, float]

    def __len__(self) -> int:
        return len(self.sizes)


def find_kinds(features: NDArray[np.float32], *, number: int | None = None, seed: int = 0) -> Kinds:
    """k-means on the features' directions.

    The number of clusters is the one of `NUMBERS` whose clusters are most distinct: the largest
    mean silhouette (Rousseeuw, 1987) on up to `MOST_JUDGED` images.

    Args:
        features: (n, D).
        number: C; None to choose it.
        seed: Fixes clusters and sample.
    """
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    silhouette: dict[int, float] = {}
    with stage("clusters"):
        if number is None:
            silhouette = _judge(directions, seed)
            number = max(silhouette, key=lambda each: silhouette[each])
        labels = _cluster(directions, min(number, len(directions)), seed)
        cluster, sizes = by_size(labels)
        examples = [
            _examples(directions, np.flatnonzero(cluster == kind), seed)
            for kind in range(len(sizes))
        ]
    return Kinds(cluster, sizes, examples, silhouette)


def _judge(directions: NDArray[np.float32], seed: int) -> dict[int, float]:
    """Number of clusters to mean silhouette, on a sample."""
    drawn = permutation(len(directions), seed, "kinds")[:MOST_JUDGED].sort().values.numpy()
    sample = directions[drawn]
    most = max(2, len(directions) // IMAGES_PER_CLUSTER)
    tried = [number for number in NUMBERS if number <= min(most, len(sample) - 1)]
    if tried[-1] > FEWEST:
        tried = [number for number in tried if number >= FEWEST]
    found = {}
    for number in tried:
        labels = _cluster(sample, number, seed)
        if len(np.unique(labels)) > 1:
            found[number] = float(silhouette_score(sample, labels))
    return found or {1: 0.0}


def _cluster(directions: NDArray[np.float32], number: int, seed: int) -> NDArray[np.int32]:
    kind = KMeans if len(directions) <= MOST_BY_KMEANS else MiniBatchKMeans
    # Fewer distinct images than clusters are as many clusters as there are images.
    number = min(number, len(np.unique(directions, axis=0)))
    labels: NDArray[np.int32] = kind(number, n_init=3, random_state=seed).fit_predict(directions)
    return labels


def _examples(
    directions: NDArray[np.float32], mine: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """Places of up to `NUM_EXAMPLES` images that show the range of one cluster.

    The cluster is divided into as many parts; of each, the image nearest to its centre is shown.
    """
    rows = directions[mine]
    labels = _cluster(rows, min(NUM_EXAMPLES, len(rows)), seed)
    centres = np.stack([rows[labels == part].mean(axis=0) for part in np.unique(labels)])
    medoids = np.unique(find_nearest(rows, centres, 1).rows[:, 0].numpy())
    closeness = rows[medoids] @ rows.mean(axis=0)
    return mine[medoids[np.argsort(-closeness, kind="stable")]]
