"""How unevenly a collection is spread over kinds of images, without reading labels.

Shapes: n images that were looked at; d feature width; C clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.errors import DataError
from quarterturn.features.extraction import extract
from quarterturn.features.nearest_neighbors import find_nearest
from quarterturn.features.network_features import choose_part
from quarterturn.files import write_csv
from quarterturn.methods.base import Network
from quarterturn.progress import stage
from quarterturn.randomness import permutation

MOST = 50_000
"""Images that are looked at, drawn from a larger collection, since each is compared with
each: minutes on a processor."""
NEIGHBORS = 10
"""An image is rare when even its N nearest are unlike it."""


@dataclass(frozen=True)
class ImbalancePicture:
    """What the features say of how a collection is spread.

    Attributes:
        names: (n,) the images that could be read.
        indices: (n,) their numbers in the collection.
        cluster: (n,) each image's cluster, numbered from the largest, 0, to the smallest.
        sizes: (C,) images of each cluster, descending.
        rarity: (n,) one minus the mean cosine to the nearest other images.
        nearest: (n,) place among the n of the most alike other image.
        cosine: (n,) cosine to that image.
        of: Images in the collection.
    """

    names: list[str]
    indices: NDArray[np.int64]
    cluster: NDArray[np.int64]
    sizes: NDArray[np.int64]
    rarity: NDArray[np.float32]
    nearest: NDArray[np.int64]
    cosine: NDArray[np.float32]
    of: int

    @property
    def gini(self) -> float:
        """Gini coefficient of the sizes: 0 when all are equal, near 1 when one has all."""
        return gini(self.sizes)

    @property
    def head_to_tail(self) -> float:
        """How many times as large as the smallest cluster the largest one is."""
        return float(self.sizes[0] / self.sizes[-1])

    def pairs(self) -> list[tuple[int, int]]:
        """Each image and its nearest, as places among the n, most alike first.

        Two that are each other's nearest are one pair. Of three equal images each is in a pair: an
        image's nearest is the first of its equals, so it need not be mutual.
        """
        places = np.arange(len(self.nearest))
        mutual = self.nearest[self.nearest] == places
        first = np.flatnonzero(~mutual | (places < self.nearest)).tolist()
        return [(i, int(self.nearest[i])) for i in sorted(first, key=lambda i: -self.cosine[i])]

    def rarest(self) -> NDArray[np.int64]:
        """Places among the n, rarest first."""
        return np.argsort(-self.rarity, kind="stable")

    def typical(self, kind: int) -> NDArray[np.int64]:
        """Places among the n of the images of one cluster, those closest to their neighbours first.

        Args:
            kind: Number of the cluster.
        """
        mine = np.flatnonzero(self.cluster == kind)
        return mine[np.argsort(self.rarity[mine], kind="stable")]

    def write(self, path: Path) -> None:
        """Write every image with its cluster, rarity and most alike other image, as csv."""
        rows = []
        for i, name in enumerate(self.names):
            kind, other = self.cluster[i], self.names[self.nearest[i]]
            figures = [f"{self.rarity[i]:.6f}", other, f"{self.cosine[i]:.6f}"]
            rows.append([name, kind, self.sizes[kind], *figures])
        header = ["name", "cluster", "cluster_size", "rarity", "most_alike", "cosine"]
        write_csv(path, header, rows)


def imbalance_picture(
    network: Network,
    images: ImageSet,
    crop: DataConfig,
    *,
    num_clusters: int,
    seed: int = 0,
    most: int = MOST,
    workers: int = 0,
) -> ImbalancePicture:
    """Cluster the images by the invariant half of their features, or by the whole.

    Args:
        network: Backbone and heads, on any device.
        images: The collection.
        crop: Crop and normalisation settings.
        num_clusters: C; fewer where there are fewer images.
        seed: Fixes the clusters, and which images are looked at where there are more than ``most``.
        most: Images to look at.
        workers: Processes that decode files.

    Raises:
        DataError: Fewer than two images could be read.
    """
    drawn = np.arange(len(images))
    if len(images) > most:
        drawn = permutation(len(images), seed, "imbalance")[:most].sort().values.numpy()
    features, part = choose_part(network)
    device = next(network.parameters()).device
    found = extract(
        images.subset(drawn),
        crop,
        lambda batch: features(batch)[part],
        device=device,
        workers=workers,
        failed={},
    )
    if len(found.indices) < 2:
        raise DataError("of a single image there is no spread: the others could not be read")
    indices = drawn[found.indices]
    rows = F.normalize(torch.from_numpy(found.values), dim=1)
    clusters = MiniBatchKMeans(min(num_clusters, len(rows)), random_state=seed, n_init=3)
    with stage("clusters"):
        cluster, sizes = by_size(clusters.fit_predict(rows.numpy()))
    with stage("nearest images"):
        rarity, nearest, cosine = _neighborhood(found.values)
    names = [images.names[i] for i in indices]
    return ImbalancePicture(names, indices, cluster, sizes, rarity, nearest, cosine, of=len(images))


def gini(sizes: NDArray[np.integer]) -> float:
    """Gini coefficient: half of the mean difference between any two, over the mean.

    Args:
        sizes: (C,) counts, not all zero.
    """
    differences = np.abs(sizes[:, None] - sizes[None, :]).mean()
    return float(differences / (2 * sizes.mean()))


def by_size(labels: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Clusters renumbered from the largest on, without empty ones, and their sizes."""
    _, compact, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order))
    return number[compact], counts[order].astype(np.int64)


def _neighborhood(
    features: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Rarity, nearest other row and the cosine to it, of (n, d) features."""
    own_rows = np.arange(len(features))[:, None]
    nearest = find_nearest(features, features, NEIGHBORS, excluded=own_rows)
    rarity = 1 - nearest.cosines.mean(dim=1)
    return rarity.numpy(), nearest.rows[:, 0].numpy(), nearest.cosines[:, 0].numpy()
