"""Temperature scaling: how sure a network should be, told by images that it was not trained on.

Shapes: n images; V views of each; logits (n, V, 4, 4), copy by turn.
"""

from __future__ import annotations

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

LIMITS = (0.05, 20.0)
"""Temperatures beyond these are not looked at."""


def mean_probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """(n, V, 4, 4) logits to (n, 4, 4): softmax at a temperature, and the mean over the views."""
    return (logits / temperature).softmax(dim=-1).mean(dim=1)


def rotation_nll(probabilities: Tensor) -> float:
    """Mean of -log of each copy's true turn, in nats: (n, 4, 4); guessing gives log 4 = 1.386."""
    true = probabilities.diagonal(dim1=1, dim2=2)
    return float(-true.clamp_min(torch.finfo(torch.float32).tiny).log().mean())


def fit_temperature(logits: Tensor) -> float:
    """The temperature at which the mean over the views tells the turns best.

    Of one view, this is the temperature scaling of Guo et al. (ICML 2017).

    Args:
        logits: (n, V, 4, 4), of images that the network was not trained on.

    Returns:
        Above 1 where the network is too sure, below 1 where it is not sure enough.
    """

    def loss(log_temperature: float) -> float:
        return rotation_nll(mean_probabilities(logits, math.exp(log_temperature)))

    bounds = tuple(math.log(limit) for limit in LIMITS)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return math.exp(found.x)
