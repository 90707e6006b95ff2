from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from quarterturn.exploring.kinds import NUM_EXAMPLES, find_kinds


def blobs(sizes: list[int], spread: float = 0.2, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(len(sizes), 16))
    rows = [c + spread * random.normal(size=(n, 16)) for c, n in zip(centres, sizes, strict=True)]
    return np.concatenate(rows).astype(np.float32)


@pytest.mark.parametrize("sizes", [[60, 50, 40, 30, 20], [40] * 8])
def test_number_of_clusters_that_are_there_is_found(sizes: list[int]) -> None:
    kinds = find_kinds(blobs(sizes))
    assert kinds.sizes.tolist() == sorted(sizes, reverse=True)
    assert max(kinds.silhouette, key=lambda number: kinds.silhouette[number]) == len(sizes)


def test_lengths_of_features_do_not_matter(rng: np.random.Generator) -> None:
    features = blobs([40] * 6)
    scaled = features * rng.uniform(0.1, 10, (len(features), 1)).astype(np.float32)
    np.testing.assert_array_equal(find_kinds(features).cluster, find_kinds(scaled).cluster)


def test_examples_are_of_their_cluster_and_begin_at_its_centre() -> None:
    features = blobs([80, 60, 40, 5])
    kinds = find_kinds(features, number=4)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    for kind, examples in enumerate(kinds.examples):
        mine = np.flatnonzero(kinds.cluster == kind)
        assert set(examples.tolist()) <= set(mine.tolist())
        assert len(set(examples.tolist())) == len(examples) == min(NUM_EXAMPLES, len(mine))
        closeness = directions[examples] @ directions[mine].mean(axis=0)
        assert closeness.tolist() == sorted(closeness, reverse=True)


def test_fewer_distinct_images_than_clusters() -> None:
    features = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    kinds = find_kinds(features, number=10)
    assert kinds.sizes.tolist() == [4, 4, 4]
    assert kinds.silhouette == {}
    assert len(find_kinds(features)) == 2 or len(find_kinds(features)) == 3


def test_clusters_are_a_function_of_the_seed() -> None:
    features = blobs([30] * 5, spread=1.0)
    np.testing.assert_array_equal(find_kinds(features).cluster, find_kinds(features).cluster)
