import math

import numpy as np
import pytest
import torch

from quarterturn.orientation.temperature import (
    LIMITS,
    fit_temperature,
    mean_probabilities,
    rotation_nll,
)


def logits_of(n: int = 60, views: int = 1, *, right: float = 2.0) -> torch.Tensor:
    """(n, V, 4, 4) noise with something added to each copy's true turn."""
    noise = torch.randn(n, views, 4, 4, generator=torch.Generator().manual_seed(n))
    return 2 * noise + right * torch.eye(4)


def naive_nll(logits: torch.Tensor, temperature: float) -> float:
    """Mean over images and copies of -log of the views' mean probability of the true turn."""
    scaled = np.exp(logits.double().numpy() / temperature)
    total = 0.0
    for image in scaled:
        for copy in range(4):
            of_views = [view[copy, copy] / view[copy].sum() for view in image]
            total -= math.log(sum(of_views) / len(of_views))
    return total / (4 * len(scaled))


def test_guessing_costs_log_4():
    assert rotation_nll(torch.full((5, 4, 4), 0.25)) == pytest.approx(math.log(4), rel=1e-6)
    assert rotation_nll(torch.eye(4).expand(3, 4, 4)) == pytest.approx(0, abs=1e-6)
    # One copy of four is wrong for sure: dear, but finite.
    wrong = torch.eye(4)[[1, 1, 2, 3]][None]
    assert 20 < rotation_nll(wrong) < 25


@pytest.mark.parametrize("views", [1, 3])
def test_the_mean_is_over_probabilities(views):
    logits = logits_of(7, views)
    probabilities = mean_probabilities(logits, 1.7)
    assert probabilities.shape == (7, 4, 4)
    torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(7, 4))
    expected = np.mean([torch.softmax(logits[:, v] / 1.7, -1).numpy() for v in range(views)], 0)
    np.testing.assert_allclose(probabilities.numpy(), expected, atol=1e-6)
    assert rotation_nll(probabilities) == pytest.approx(naive_nll(logits, 1.7), rel=1e-5)


@pytest.mark.parametrize(("views", "right"), [(1, 2.0), (1, 0.7), (4, 2.0)])
def test_the_temperature_is_the_best_of_a_grid(views, right):
    logits = logits_of(80, views, right=right)
    found = fit_temperature(logits)
    grid = np.geomspace(0.2, 15, 50)
    losses = [naive_nll(logits, t) for t in grid]
    best = int(np.argmin(losses))
    assert grid[best - 1] < found < grid[best + 1]
    assert naive_nll(logits, found) <= losses[best] + 1e-6
    assert naive_nll(logits, found) < naive_nll(logits, 1.0)


@pytest.mark.parametrize("factor", [0.3, 4.0])
def test_logits_times_something_have_that_times_the_temperature(factor):
    logits = logits_of(50)
    assert fit_temperature(factor * logits) == pytest.approx(
        factor * fit_temperature(logits), rel=1e-3
    )


def test_overconfidence_is_cooled_and_underconfidence_is_sharpened():
    # One turn of 36 that it is sure of is wrong: it should say so with 35 of 36.
    sure = 10 * torch.eye(4).repeat(9, 1, 1, 1)
    sure[0, 0, 0] = sure[0, 0, 1]
    assert fit_temperature(sure) == pytest.approx(10 / math.log(3 * 35), rel=1e-3)
    assert fit_temperature(0.01 * sure) == pytest.approx(LIMITS[0], rel=1e-3)
    assert fit_temperature(-sure) == pytest.approx(LIMITS[1], rel=1e-3)
