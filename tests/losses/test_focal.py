import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn.losses.focal import FocalLoss

from .conftest import log_softmax, reduce


def plain_loss(logits, targets, gamma, weights, reduction):
    losses = []
    for row, target in zip(logits, targets, strict=True):
        log_p = log_softmax(row)[target]
        losses.append(-((1 - math.exp(log_p)) ** gamma) * log_p)
    return reduce(losses, [weights[t] for t in targets], reduction)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_is_the_formulas(logits, targets, gamma, reduction, weighted):
    weights = np.array([0.25, 1.0, 1.75]) if weighted else np.ones(3)
    found = FocalLoss(gamma, reduction)(
        torch.tensor(3 * logits).float(),
        torch.from_numpy(targets),
        torch.tensor(weights) if weighted else None,
    )
    expected = plain_loss(3 * logits, targets, gamma, weights, reduction)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_gamma_0_is_cross_entropy(logits, targets):
    values, classes = torch.tensor(logits).float(), torch.from_numpy(targets)
    weight = torch.tensor([0.3, 1.0, 1.7])
    expected = F.cross_entropy(values, classes, weight)
    assert FocalLoss(0.0)(values, classes, weight).item() == pytest.approx(expected.item())


def test_value_by_hand():
    # p = 1/2 for the target: (1/2) ** 2 * log 2.
    found = FocalLoss(2.0)(torch.zeros(1, 2), torch.tensor([1]))
    assert found.item() == pytest.approx(math.log(2) / 4)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_gradient(logits, targets, gamma):
    weight = torch.tensor([0.3, 1.0, 1.7], dtype=torch.float64)
    values = torch.tensor(3 * logits, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda z: FocalLoss(gamma)(z, torch.from_numpy(targets), weight), values
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_an_example_that_is_sure_has_a_finite_gradient(gamma):
    logits = torch.tensor([[1000.0, 0.0], [0.0, 1000.0]], requires_grad=True)
    loss = FocalLoss(gamma)(logits, torch.tensor([0, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(500)
    assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(logits, targets, dtype):
    values, classes = torch.tensor(logits).to(dtype), torch.from_numpy(targets)
    found = FocalLoss()(values, classes, torch.ones(3, dtype=dtype))
    assert found.dtype == torch.float32
    assert torch.equal(found, FocalLoss()(values.float(), classes))


def test_negative_gamma_is_refused():
    with pytest.raises(ValueError, match="gamma is -1"):
        FocalLoss(-1)
