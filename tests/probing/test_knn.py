import math

import numpy as np
import pytest

from quarterturn.data.row_subset import RowSubset
from quarterturn.probing.knn import knn_predict


def clouds(n: int, m: int, classes: int = 5, width: int = 12, seed: int = 0):
    """Features of n training and m test examples around the classes' centres, which overlap."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, width))
    labels = random.integers(0, classes, n + m)
    values = (centres[labels] + random.normal(size=(n + m, width)) * 1.2).astype(np.float32)
    return values[:n], labels[:n], values[n:], labels[n:]


def naive(train, labels, test, k: int, num_classes: int) -> list[int]:
    predicted = []
    for query in test.astype(float):
        cosines = [float(query @ x) / math.hypot(*query) / math.hypot(*x) for x in train]
        nearest = sorted(range(len(train)), key=lambda i: -cosines[i])[:k]
        votes = [0.0] * num_classes
        for i in nearest:
            votes[labels[i]] += math.exp(cosines[i] / 0.07)
        predicted.append(votes.index(max(votes)))
    return predicted


@pytest.mark.parametrize("k", [1, 2, 7, 20, 60])
def test_is_the_weighted_vote(k):
    train, labels, test, truth = clouds(60, 40)
    found = knn_predict(train, labels, test, (k,), num_classes=5)[k]
    assert found.dtype == np.int64
    assert found.tolist() == naive(train, labels, test, k, 5)
    assert 0.4 < (found == truth).mean() < 1.0  # the task is neither trivial nor hopeless


def test_more_neighbours_than_examples_are_all():
    train, labels, test, _ = clouds(60, 40)
    found = knn_predict(train, labels, test, (10, 60, 200), num_classes=5)
    assert list(found) == [10, 60, 200]
    np.testing.assert_array_equal(found[200], found[60])
    assert found[10].tolist() == naive(train, labels, test, 10, 5)
    assert found[200].tolist() == naive(train, labels, test, 200, 5)


@pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
def test_chunks_do_not_matter(chunk):
    train, labels, test, _ = clouds(60, 40)
    ks = (3, 20)
    whole = knn_predict(train, labels, test, ks, num_classes=5)
    parts = knn_predict(train, labels, test, ks, num_classes=5, queries_per_block=chunk)
    for k in ks:
        np.testing.assert_array_equal(parts[k], whole[k])


@pytest.mark.parametrize("rows", [1, 7, 25])
def test_training_features_are_compared_in_blocks(rows):
    """Of which no two are in memory at once; the vote is the same."""
    train, labels, test, _ = clouds(60, 40)
    read = []

    class Watched(RowSubset):
        def __getitem__(self, which):
            read.append(which.stop - which.start)
            return super().__getitem__(which)

    watched = Watched(train, np.arange(60))
    options = {"num_classes": 5, "queries_per_block": 4, "block_bytes": rows * 4 * 12}
    found = knn_predict(watched, labels, test, (3, 20, 200), **options)
    whole = knn_predict(train, labels, test, (3, 20, 200), num_classes=5)
    assert set(read) == {rows}
    for k in found:
        np.testing.assert_array_equal(found[k], whole[k])


def at_angles(*degrees: float) -> np.ndarray:
    return np.array([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees], "f4")


def test_near_ones_outvote_many():
    # At 0 degrees one of class 1; at 30 degrees two of class 0: exp(1 / 0.07) is more than
    # 2 exp(cos(30) / 0.07); three of class 2 at 10 degrees are more than that.
    train = at_angles(0, 30, 30)
    labels = np.array([1, 0, 0])
    assert knn_predict(train, labels, at_angles(0), (3,), num_classes=3)[3].tolist() == [1]
    train, labels = at_angles(0, 30, 30, 10, 10, -10), np.array([1, 0, 0, 2, 2, 2])
    assert knn_predict(train, labels, at_angles(0), (6, 1), num_classes=3)[6].tolist() == [2]


def test_only_directions_count():
    train, labels, test, _ = clouds(60, 40)
    lengths = np.random.default_rng(1).uniform(0.01, 100, (100, 1)).astype(np.float32)
    found = knn_predict(train * lengths[:60], labels, test * lengths[60:], (9,), num_classes=5)
    np.testing.assert_array_equal(
        found[9], knn_predict(train, labels, test, (9,), num_classes=5)[9]
    )


def test_features_are_not_changed():
    train, labels, test, _ = clouds(20, 10)
    before = train.copy(), test.copy()
    knn_predict(train, labels, test, (3,), num_classes=5)
    np.testing.assert_array_equal(train, before[0])
    np.testing.assert_array_equal(test, before[1])
