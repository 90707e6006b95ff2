"""Temperature scaling: calibrate a network's confidence on images that it was not trained on.

Shapes: n images; V views of each; logits (n, V, 4, 4), copy by turn.
"""

from __future__ import annotations

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

LIMITS = (0.05, 20.0)
"""Range of temperatures that are searched."""


def mean_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """(n, V, 4, 4) logits to (n, 4, 4) probabilities: softmax at a temperature, mean over views."""
    return (logits / temperature).softmax(dim=-1).mean(dim=1)


def rotation_nll(probabilities: Tensor) -> float:
    """Mean -log probability of the true turns, in nats: (n, 4, 4). Guessing gives log 4 = 1.386."""
    true = probabilities.diagonal(dim1=1, dim2=2)
    return float(-true.clamp_min(torch.finfo(torch.float32).tiny).log().mean())


def fit_temperature(logits: Tensor) -> float:
    """The temperature that minimises the negative log-likelihood of the mean over views.

    With one view this is the temperature scaling of Guo et al. (ICML 2017).

    Args:
        logits: (n, V, 4, 4), of images that the network was not trained on.

    Returns:
        Above 1 if the network is overconfident, below 1 if it is underconfident.
    """

    def loss(log_temperature: float) -> float:
        return rotation_nll(mean_probabilities(logits, math.exp(log_temperature)))

    bounds = tuple(math.log(limit) for limit in LIMITS)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return math.exp(found.x)
