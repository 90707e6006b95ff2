"""Which images of a collection to label first.

Shapes: n images; D feature width; C classes of a classifier; m candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import KMeans, MiniBatchKMeans

from quarterturn.exploring.kinds import MOST_BY_KMEANS
from quarterturn.features.nearest_neighbors import find_nearest

UNCERTAIN_POOL = 10
"""Uncertain images for each one suggested, among which they are spread (Zhdanov, 2019)."""
COPY_DISTANCE = 0.2
"""Of the median distance between nearest neighbours: closer images are taken for copies."""
NUM_NEIGHBORS = 5
"""In which copies are looked for; chains of them are one group."""


@dataclass(frozen=True)
class Suggestion:
    """An image to label.

    Attributes:
        place: Its place among the n.
        cluster_size: Images in the cluster that it is the centre of.
        margin: Probability of its class less that of the next one; None without a classifier.
    """

    place: int
    cluster_size: int
    margin: float | None = None


def suggest(
    features: NDArray[np.float32],
    is_labelled: NDArray[np.bool_],
    number: int,
    *,
    margins: NDArray[np.float32] | None = None,
    seed: int = 0,
) -> list[Suggestion]:
    """Choose images that show the range of a collection, or on which a classifier is uncertain.

    Without a classifier the images are divided into as many clusters as there are images to label
    and labelled ones; of the clusters without a label the largest are chosen, and of each the image
    nearest to its centre. With one, the most uncertain images are clustered by weights that grow
    with their uncertainty (Zhdanov, "Diverse mini-batch Active Learning", 2019). Of images that are
    copies to the network one counts.

    Args:
        features: (n, D).
        is_labelled: (n,) whether an image has a label already.
        number: Of images to choose.
        margins: (n,) probability of the most probable class less that of the next; NaN where a
            classifier could not read the image.
        seed: Of the clusters.

    Returns:
        At most ``number``, those that help most first: centres of larger clusters, or smaller
        margins.
    """
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    candidates = _without_copies(directions, is_labelled)
    if margins is None:
        return _centres(directions, candidates, np.flatnonzero(is_labelled), number, seed)
    candidates = candidates[~np.isnan(margins[candidates])]
    pool = candidates[np.argsort(margins[candidates], kind="stable")[: UNCERTAIN_POOL * number]]
    weights = 1 - margins[pool] + 1e-3  # none is nothing
    labels = _cluster(directions[pool], number, seed, weights)
    chosen = [
        Suggestion(
            int(pool[_medoid(directions[pool], labels == cluster, weights)]),
            int((labels == cluster).sum()),
        )
        for cluster in np.unique(labels)
    ]
    found = [Suggestion(s.place, s.cluster_size, float(margins[s.place])) for s in chosen]
    return sorted(found, key=lambda s: (s.margin, s.place))


def _centres(
    directions: NDArray[np.float32],
    candidates: NDArray[np.int64],
    labelled: NDArray[np.int64],
    number: int,
    seed: int,
) -> list[Suggestion]:
    """The centres of the largest clusters without a labelled image."""
    rows = np.concatenate([candidates, labelled])
    labels = _cluster(directions[rows], number + len(labelled), seed)
    is_new = np.arange(len(rows)) < len(candidates)
    chosen = []
    for cluster in np.setdiff1d(labels, labels[~is_new]):
        members = labels == cluster
        place = int(rows[_medoid(directions[rows], members)])
        chosen.append(Suggestion(place, int(members.sum())))
    chosen.sort(key=lambda s: (-s.cluster_size, s.place))
    return chosen[:number]


def _cluster(
    rows: NDArray[np.float32],
    number: int,
    seed: int,
    weights: NDArray[np.float32] | None = None,
) -> NDArray[np.int32]:
    """(m,) clusters, as many as are asked for or as there are different images."""
    kind = KMeans if len(rows) <= MOST_BY_KMEANS else MiniBatchKMeans
    number = min(number, len(np.unique(rows, axis=0)))
    fitted = kind(number, n_init=3, random_state=seed).fit(rows, sample_weight=weights)
    return fitted.labels_


def _medoid(
    rows: NDArray[np.float32],
    members: NDArray[np.bool_],
    weights: NDArray[np.float32] | None = None,
) -> int:
    """The row of the member nearest to the mean of a cluster."""
    mine = np.flatnonzero(members)
    centre = np.average(rows[mine], axis=0, weights=None if weights is None else weights[mine])
    return int(mine[np.linalg.norm(rows[mine] - centre, axis=1).argmin()])


def _without_copies(
    directions: NDArray[np.float32], is_labelled: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Places of the images without a label: one of each group of copies, none of labelled ones."""
    count = len(directions)
    own = np.arange(count)[:, None]
    nearest = find_nearest(directions, directions, min(NUM_NEIGHBORS, count - 1), excluded=own)
    distances = np.sqrt(np.maximum(2 - 2 * nearest.cosines.numpy().astype(np.float64), 0))
    # Of many copies the median would be theirs; those at no distance at all do not count.
    apart = distances[:, 0][distances[:, 0] > 1e-3]
    limit = COPY_DISTANCE * float(np.median(apart)) if len(apart) else 1e-3
    row, neighbor = np.nonzero(distances < max(limit, 1e-3))
    columns = nearest.rows.numpy()[row, neighbor]
    links = coo_array((np.ones(len(row)), (row, columns)), shape=(count, count))
    _, group = connected_components(links, directed=False)
    first = np.full(group.max() + 1, -1)
    for place in range(count - 1, -1, -1):
        first[group[place]] = place
    first[group[is_labelled]] = -1
    return np.sort(first[first >= 0])
