import numpy as np
import pytest
import torch

from quarterturn.metrics.embeddings import effective_rank, embedding_spread


def unit_rows(rng, n, width):
    rows = rng.normal(size=(n, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_spread_is_the_mean_squared_distance_to_the_mean(rng):
    rows = unit_rows(rng, 40, 6) + np.array([0.5, 0, 0, 0, 0, 0])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.mean([np.sum((row - rows.mean(axis=0)) ** 2) for row in rows])
    assert embedding_spread(torch.from_numpy(rows).float()) == pytest.approx(expected, abs=1e-6)


def test_spread_is_zero_for_equal_and_one_for_opposite_points():
    axes = torch.eye(4)
    assert embedding_spread(axes[:1].repeat(9, 1)) == pytest.approx(0, abs=1e-12)
    assert embedding_spread(torch.cat([axes, -axes])) == pytest.approx(1, abs=1e-12)
    assert embedding_spread(axes) == pytest.approx(1 - 1 / 4, abs=1e-12)


def test_effective_rank_counts_equal_directions():
    axes = torch.eye(5)
    for used in range(1, 6):
        rows = torch.cat([axes[:used], -axes[:used]])
        assert effective_rank(rows) == pytest.approx(used, abs=1e-9)
    assert effective_rank(axes[:1].repeat(7, 1)) == 1.0  # no variance at all


def test_effective_rank_is_the_entropy_of_the_covariance_spectrum(rng):
    rows = rng.normal(size=(60, 5)) * [5, 3, 1, 0.5, 0.1] + [9, 9, 9, 9, 9]
    eigenvalues = np.linalg.eigvalsh(np.cov(rows.T))
    shares = eigenvalues / eigenvalues.sum()
    expected = np.exp(-sum(s * np.log(s) for s in shares))
    assert effective_rank(torch.from_numpy(rows)) == pytest.approx(expected, rel=1e-9)
    # Neither a shift nor a scale nor a turn of the whole cloud matters.
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    moved = torch.from_numpy(3 * rows @ turn - 4)
    assert effective_rank(moved) == pytest.approx(expected, rel=1e-9)
