import numpy as np
import pytest

from quarterturn.data.row_subset import RowSubset
from quarterturn.features.extraction import Features
from quarterturn.features.nearest_neighbors import find_nearest, nearest_in_splits


def features(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def ranked(gallery: np.ndarray, query: np.ndarray, excluded: set[int] = frozenset()) -> list[int]:
    """All rows by falling cosine in float64, equal ones in order."""
    cosines = gallery.astype(float) @ query / np.linalg.norm(gallery.astype(float), axis=1)
    return [i for i in np.argsort(-cosines, kind="stable").tolist() if i not in excluded]


@pytest.mark.parametrize("k", [1, 3, 39, 40])
def test_rows_are_those_of_a_full_sort(k):
    gallery, queries = features(40), features(15, seed=1)
    nearest = find_nearest(gallery, queries, k)
    assert nearest.rows.tolist() == [ranked(gallery, q)[:k] for q in queries]


def test_cosines_are_those_of_the_rows():
    gallery, queries = features(40), features(15, seed=1)
    nearest = find_nearest(gallery, queries, 5)
    found = gallery[nearest.rows.numpy()]
    expected = np.einsum("mkd,md->mk", found, queries) / (
        np.linalg.norm(found, axis=2) * np.linalg.norm(queries, axis=1)[:, None]
    )
    np.testing.assert_allclose(nearest.cosines.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("block_rows", [1, 7, 39, 40, 1000])
@pytest.mark.parametrize("queries_per_block", [1, 4, 15, 1000])
def test_blocks_change_nothing(block_rows, queries_per_block):
    gallery, queries = features(40), features(15, seed=1)
    # A block of cosines is as wide as its rows or its queries, whichever are more.
    options = {
        "queries_per_block": queries_per_block,
        "block_bytes": 4 * block_rows * max(6, queries_per_block),
        "excluded": np.arange(15)[:, None],
    }
    nearest = find_nearest(gallery, queries, 8, **options)
    whole = find_nearest(gallery, queries, 8, excluded=np.arange(15)[:, None])
    np.testing.assert_array_equal(nearest.rows, whole.rows)
    np.testing.assert_allclose(nearest.cosines, whole.cosines, atol=1e-6)


@pytest.mark.parametrize("block_rows", [1, 2, 5, 12])
@pytest.mark.parametrize("k", [1, 4, 5, 9, 12])
def test_equal_cosines_keep_the_order_of_the_gallery(k, block_rows):
    # Three directions, four copies each, interleaved; exact in float32.
    gallery = np.tile(np.eye(3, dtype=np.float32), (4, 1))
    queries = np.array([[2, 1, 0], [0, 1, 2]], dtype=np.float32)
    nearest = find_nearest(gallery, queries, k, queries_per_block=3, block_bytes=12 * block_rows)
    by_direction = [list(range(d, 12, 3)) for d in range(3)]
    expected = [
        by_direction[0] + by_direction[1] + by_direction[2],
        by_direction[2] + by_direction[1] + by_direction[0],
    ]
    assert nearest.rows.tolist() == [rows[:k] for rows in expected]


def test_more_neighbours_than_rows_are_all_rows():
    gallery, queries = features(6), features(3, seed=1)
    nearest = find_nearest(gallery, queries, 50)
    assert nearest.rows.tolist() == [ranked(gallery, q) for q in queries]


@pytest.mark.parametrize("k", [1, 10, 50])
def test_excluded_rows_are_never_neighbours(k):
    gallery = features(40)
    excluded = np.stack([np.arange(40), (np.arange(40) + 7) % 40], axis=1)
    nearest = find_nearest(gallery, gallery, k, excluded=excluded, block_bytes=9 * 4 * 1024)
    expected = [
        ranked(gallery, q, set(e.tolist()))[:k] for q, e in zip(gallery, excluded, strict=True)
    ]
    assert nearest.rows.tolist() == expected
    assert np.isfinite(nearest.cosines.numpy()).all()


@pytest.mark.parametrize(
    ("n", "m", "k", "shape"), [(0, 3, 5, (3, 0)), (4, 0, 5, (0, 4)), (4, 3, 0, (3, 0))]
)
def test_nothing_to_search_gives_nothing(n, m, k, shape):
    nearest = find_nearest(features(n), features(m), k)
    assert nearest.rows.shape == nearest.cosines.shape == shape


def test_all_rows_excluded_gives_nothing():
    nearest = find_nearest(features(1), features(1), 3, excluded=np.array([[0]]))
    assert nearest.rows.shape == (1, 0)


def test_only_directions_count():
    gallery, queries = features(40), features(15, seed=1)
    lengths = np.random.default_rng(2).uniform(0.01, 100, (40, 1)).astype(np.float32)
    found = find_nearest(gallery * lengths, queries * 50, 7)
    np.testing.assert_array_equal(found.rows, find_nearest(gallery, queries, 7).rows)


def test_a_gallery_is_read_in_blocks():
    sizes = []

    class Watched(RowSubset):
        def __getitem__(self, rows):
            sizes.append(rows.stop - rows.start)
            return super().__getitem__(rows)

    watched = Watched(features(40), np.arange(40))
    find_nearest(watched, features(3), 2, queries_per_block=2, block_bytes=8 * 4 * 6)
    assert sizes == [8] * 5


def test_splits_are_searched_together():
    whole, query = features(30), features(1, seed=1)[0]
    numbers = np.arange(100, 118), np.arange(12)
    gallery = {
        "train": Features(whole[:18], numbers[0], None),
        "test": Features(whole[18:], numbers[1], None),
    }
    places = [("train", 100 + i) for i in range(18)] + [("test", i) for i in range(12)]
    first, second, *others = [places[row] for row in ranked(whole, query)]
    several = np.stack([query, query, query])
    left_out = [[first], [], [first, others[0]]]
    left, everything, fewer = nearest_in_splits(gallery, several, 99, left_out)
    assert [(n.split, n.index) for n in left] == [second, *others]
    assert [(n.split, n.index) for n in everything] == [first, second, *others]
    assert [(n.split, n.index) for n in fewer] == [second, *others[1:]]
    [nine] = nearest_in_splits(gallery, query[None], 9, [[first]])
    assert [(n.split, n.index) for n in nine] == [second, *others][:9]


def test_cosines_do_not_exceed_one():
    alike = np.full((3, 7), 0.1, dtype=np.float32)
    gallery = {"train": Features(alike, np.arange(3), None)}
    [near] = nearest_in_splits(gallery, 3 * alike[:1], 3, [[]])
    assert [n.index for n in near] == [0, 1, 2]
    assert all(0.999 < n.cosine <= 1 for n in near)
