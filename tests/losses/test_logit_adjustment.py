import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn.losses.logit_adjustment import LogitAdjustedLoss, adjust_logits, log_prior

from .conftest import COUNTS, log_softmax, reduce


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_is_the_formulas(logits, targets, strength, reduction, weighted):
    weights = np.array([0.25, 1.0, 1.75]) if weighted else np.ones(3)
    found = LogitAdjustedLoss(COUNTS, strength, reduction)(
        torch.tensor(logits).float(),
        torch.from_numpy(targets),
        torch.tensor(weights) if weighted else None,
    )
    priors = [strength * math.log(n / sum(COUNTS)) for n in COUNTS]
    losses = [-log_softmax(row + priors)[t] for row, t in zip(logits, targets, strict=True)]
    expected = reduce(losses, [weights[t] for t in targets], reduction)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_strength_1_is_the_balanced_softmax(logits, targets):
    # Ren et al. write n_c exp(z_c) / sum of n_j exp(z_j).
    found = LogitAdjustedLoss(COUNTS, reduction="none")(
        torch.tensor(logits), torch.from_numpy(targets)
    )
    for row, target, value in zip(logits, targets, found.tolist(), strict=True):
        shares = [n * math.exp(z) for n, z in zip(COUNTS, row, strict=True)]
        assert value == pytest.approx(-math.log(shares[target] / sum(shares)), rel=1e-6)


def test_equal_counts_change_nothing(logits, targets):
    values, classes = torch.tensor(logits), torch.from_numpy(targets)
    found = LogitAdjustedLoss([9, 9, 9])(values, classes)
    assert found.item() == pytest.approx(F.cross_entropy(values, classes).item())


def test_post_hoc_adjustment_by_hand():
    logits = torch.zeros(1, 3)
    adjusted = adjust_logits(logits, log_prior([6, 3, 1]))
    assert adjusted[0].tolist() == pytest.approx([-math.log(p) for p in (0.6, 0.3, 0.1)])
    half = adjust_logits(logits, log_prior([6, 3, 1]), strength=0.5)
    assert half[0].tolist() == pytest.approx([-math.log(p) / 2 for p in (0.6, 0.3, 0.1)])


def test_adjusting_takes_back_what_the_loss_has_added(logits):
    values = torch.tensor(logits)
    biased = values + log_prior(COUNTS)
    torch.testing.assert_close(adjust_logits(biased, log_prior(COUNTS)), values)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_empty_classes_are_refused_or_left_out(logits, strength):
    with pytest.raises(ValueError, match="no images of class 1"):
        LogitAdjustedLoss([6, 0, 1], strength)
    loss = LogitAdjustedLoss([6, 0, 1], strength, leave_out_empty=True)
    values = torch.tensor(logits, requires_grad=True)
    classes = torch.tensor([0, 2, 0, 0, 0, 2, 2])
    two = LogitAdjustedLoss([6, 1], strength)(values[:, [0, 2]], classes // 2)
    found = loss(values, classes)
    assert found.item() == pytest.approx(two.item())
    found.backward()
    assert bool(values.grad.isfinite().all())
    assert values.grad[:, 1].tolist() == [0.0] * 7
    adjusted = adjust_logits(values, log_prior([6, 0, 1], leave_out_empty=True), strength)
    assert not bool((adjusted.argmax(dim=1) == 1).any())
    assert not bool(adjusted.softmax(dim=1).isnan().any())


def test_gradient(logits, targets):
    values = torch.tensor(logits, requires_grad=True)
    loss = LogitAdjustedLoss(COUNTS)
    weight = torch.tensor([0.3, 1.0, 1.7], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: loss(z, torch.from_numpy(targets), weight), values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(logits, targets, dtype):
    values, classes = torch.tensor(logits).to(dtype), torch.from_numpy(targets)
    loss = LogitAdjustedLoss(COUNTS)
    found = loss(values, classes, torch.ones(3, dtype=dtype))
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(values.float(), classes))
    assert adjust_logits(values, log_prior(COUNTS)).dtype == torch.float32
