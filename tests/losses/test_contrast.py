"""Shapes: B = 4 images in L = 3 views, E = 5."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn.losses.contrast import contrastive_loss

B, L, E = 4, 3, 5


def unit(*shape):
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


def plain(z, others, temperature, margins=None, weights=None):
    """The definition, pair by pair; z are the first images of all."""
    z, every = z.numpy(), np.concatenate([z.numpy(), others.numpy()])
    losses = []
    for b in range(len(z)):
        pairs = []
        for i in range(z.shape[1]):
            negatives = sum(
                math.exp(z[b, i] @ every[a, v] / temperature)
                for a in range(len(every))
                for v in range(z.shape[1])
                if a != b
            )
            for p in range(z.shape[1]):
                if p != i:
                    cosine = z[b, i] @ z[b, p] - (0 if margins is None else float(margins[b]))
                    positive = math.exp(cosine / temperature)
                    pairs.append(-math.log(positive / (positive + negatives)))
        losses.append(sum(pairs) / len(pairs))
    return np.average(losses, weights=None if weights is None else weights.numpy())


@pytest.mark.parametrize("num_others", [0, 3])
@pytest.mark.parametrize("views", [2, 3, 6])
def test_equals_a_loop_over_pairs(num_others, views):
    z, others = unit(B, views, E), unit(num_others, views, E)
    margins, weights = torch.rand(B, dtype=torch.float64), torch.rand(B, dtype=torch.float64)
    for more in ({}, {"margins": margins}, {"weights": weights, "margins": margins}):
        found = contrastive_loss(z, torch.cat([z, others]), temperature=0.3, **more)
        assert found.item() == pytest.approx(plain(z, others, 0.3, **more), rel=1e-10)
    if not num_others:
        assert contrastive_loss(z, temperature=0.3) == contrastive_loss(z, z, temperature=0.3)


def test_with_two_views_it_is_simclrs_loss():
    z, temperature = unit(B, 2, E), 0.2
    rows = z.transpose(0, 1).flatten(0, 1)  # first views, then second views
    logits = (rows @ rows.T / temperature).fill_diagonal_(-math.inf)
    targets = torch.arange(2 * B).roll(B)
    expected = F.cross_entropy(logits, targets)
    assert contrastive_loss(z, temperature=temperature).item() == pytest.approx(expected.item())


def test_order_of_views_and_images_does_not_matter():
    z = unit(B, L, E)
    expected = contrastive_loss(z, temperature=0.2).item()
    shuffled = z[torch.randperm(B)][:, torch.randperm(L)]
    assert contrastive_loss(shuffled, temperature=0.2).item() == pytest.approx(expected)


def test_own_views_repel_nothing():
    """With no other image there is nothing to be told from, however alike or unlike the views."""
    z = unit(1, L, E).requires_grad_()
    loss = contrastive_loss(z, unit(1, L, E).detach() * 0 + z, temperature=0.2)
    assert loss.item() == 0


def test_gradients_agree_with_finite_differences():
    z = unit(3, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: contrastive_loss(z, temperature=0.5), z)


def test_gradients_flow_through_the_others():
    z, others = unit(B, L, E).requires_grad_(), unit(2, L, E).requires_grad_()
    contrastive_loss(z, torch.cat([z, others]), temperature=0.2).backward()
    assert others.grad.abs().sum() > 0


def test_float32_under_autocast_and_for_extreme_temperatures():
    z = unit(B, L, E)
    expected = contrastive_loss(z, temperature=0.01).item()
    for values in (z.float(), z.bfloat16()):
        with torch.autocast("cpu", torch.bfloat16):
            found = contrastive_loss(values, temperature=0.01)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(
            expected, rel=1e-5 if values.dtype == torch.float32 else 0.1
        )


def test_equal_images_are_told_apart_by_chance_alone():
    z = unit(1, 1, E).expand(B, L, E)
    expected = math.log(1 + (B - 1) * L)
    assert contrastive_loss(z, temperature=0.2).item() == pytest.approx(expected)
