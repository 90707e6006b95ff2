from __future__ import annotations

import math

import numpy as np
import pytest

COUNTS = [5000, 387, 50]


@pytest.fixture
def logits(rng: np.random.Generator) -> np.ndarray:
    """(7, 3) float64, values of cosines."""
    return rng.uniform(-1, 1, size=(7, 3))


@pytest.fixture
def targets() -> np.ndarray:
    """(7,) classes, all three among them."""
    return np.array([0, 2, 1, 0, 0, 2, 1])


def log_softmax(row: np.ndarray) -> list[float]:
    """Of one example, term by term."""
    log_sum = math.log(sum(math.exp(z) for z in row))
    return [float(z) - log_sum for z in row]


def reduce(losses: list[float], weights: list[float], reduction: str) -> np.ndarray | float:
    """Weigh and reduce as `torch.nn.functional.cross_entropy` is documented to."""
    weighted = [loss * weight for loss, weight in zip(losses, weights, strict=True)]
    if reduction == "none":
        return np.array(weighted)
    return sum(weighted) / (sum(weights) if reduction == "mean" else 1)
