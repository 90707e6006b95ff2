import math

import numpy as np
import pytest
import torch

from quarterturn.losses.rotation import predicted_turns, pu_weights, rotation_loss


def plain_loss(logits: np.ndarray, weights: np.ndarray | None) -> float:
    total = 0.0
    for i in range(len(logits)):
        for k in range(4):
            row = logits[i, k].astype(np.float64)
            cross_entropy = math.log(sum(math.exp(z) for z in row)) - row[k]
            total += cross_entropy * (1.0 if weights is None else float(weights[i, k]))
    return total / (4 * len(logits))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("num_images", [1, 7])
def test_value_is_the_formulas(num_images, weighted, rng):
    logits = rng.normal(scale=3, size=(num_images, 4, 4))
    weights = rng.uniform(size=(num_images, 4)).astype(np.float32) if weighted else None
    found = rotation_loss(
        torch.from_numpy(logits).float(), None if weights is None else torch.from_numpy(weights)
    )
    assert found.shape == ()
    assert found.item() == pytest.approx(plain_loss(logits, weights), rel=1e-6)


def test_value_by_hand():
    # Copy k has 2 at its own class and 0 elsewhere, but copy 3 is taken for copy 0.
    logits = 2 * torch.eye(4)[[0, 1, 2, 0]][None]
    right, wrong = math.log(math.exp(2) + 3) - 2, math.log(math.exp(2) + 3)
    assert rotation_loss(logits).item() == pytest.approx((3 * right + wrong) / 4, rel=1e-6)
    assert rotation_loss(torch.zeros(5, 4, 4)).item() == pytest.approx(math.log(4), rel=1e-6)


def test_predicted_turns_are_counted_copy_by_copy():
    logits = 2 * torch.eye(4)[[0, 1, 2, 0]][None]
    assert predicted_turns(logits).tolist() == [[1, 1, 1, 0]]
    views = torch.eye(4)[torch.tensor([[3, 3], [1, 0]])]  # two images in two views each
    assert predicted_turns(views, torch.tensor([[3, 2], [1, 1]])).tolist() == [[1, 0], [1, 0]]


def test_sum_is_divided_by_4b_not_by_the_weights():
    logits = torch.randn(6, 4, 4)
    plain = rotation_loss(logits)
    assert torch.equal(rotation_loss(logits, torch.ones(6, 4)), plain)
    half = rotation_loss(logits, torch.full((6, 4), 0.5))
    assert half.item() == pytest.approx(plain.item() / 2, rel=1e-6)
    # A batch of which half the images weigh nothing has half the loss of the other half.
    weights = torch.tensor([1.0, 1, 1, 0, 0, 0])[:, None].expand(6, 4)
    assert rotation_loss(logits, weights).item() == pytest.approx(
        rotation_loss(logits[:3]).item() / 2, rel=1e-6
    )


def test_gradient_is_softmax_minus_target(rng):
    values = rng.normal(scale=2, size=(3, 4, 4))
    weights = rng.uniform(size=(3, 4))
    logits = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    rotation_loss(logits, torch.tensor(weights, dtype=torch.float32)).backward()
    for i in range(3):
        for k in range(4):
            softmax = np.exp(values[i, k]) / np.exp(values[i, k]).sum()
            expected = weights[i, k] * (softmax - np.eye(4)[k]) / 12
            np.testing.assert_allclose(logits.grad[i, k].numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_of_logits_give_float32(dtype):
    logits = torch.randn(5, 4, 4)
    found = rotation_loss(logits.to(dtype))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(rotation_loss(logits.to(dtype).float()).item(), rel=1e-6)
    assert found.item() == pytest.approx(rotation_loss(logits).item(), rel=0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_of_weights_give_float32(dtype):
    logits, weights = torch.randn(5, 4, 4), torch.rand(5, 4)
    found = rotation_loss(logits, weights.to(dtype))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(rotation_loss(logits, weights).item(), rel=0.01)


def test_margins_balance_and_weights_at_once(rng):
    """Weights lessen the sum; the sum of the balance, and not theirs, is what it is divided by."""
    cosines = rng.uniform(-1, 1, size=(5, 4, 4))
    weights, balance = rng.uniform(size=(5, 4)), rng.uniform(0.1, 3, size=(5, 4))
    margins = rng.uniform(0, 0.5, size=(5, 4))
    total = 0.0
    for i in range(5):
        for k in range(4):
            row = 30 * (cosines[i, k] - margins[i, k] * np.eye(4)[k])
            cross_entropy = math.log(sum(math.exp(z) for z in row)) - row[k]
            total += weights[i, k] * balance[i, k] * cross_entropy
    given = {name: torch.from_numpy(x) for name, x in [("margins", margins), ("balance", balance)]}
    found = rotation_loss(
        torch.from_numpy(cosines), torch.from_numpy(weights), scale=30.0, **given
    ).item()
    assert found == pytest.approx(total / balance.sum(), rel=1e-5)


def test_large_logits_stay_finite():
    logits = 1e4 * torch.eye(4)[None]
    assert rotation_loss(logits).item() == 0
    assert rotation_loss(logits.flip(1)).item() == pytest.approx(1e4)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pu_weights_are_the_formulas(gamma, dtype, rng):
    p = rng.uniform(size=(6, 4))
    given = torch.tensor(p, dtype=dtype)
    before = given.clone()
    weights = pu_weights(given, gamma)
    assert weights.dtype == dtype
    assert torch.equal(given, before)
    for i in range(6):
        for k in range(4):
            expected = 1.0 if k == 0 else 1 - p[i, k] ** gamma
            assert weights[i, k].item() == pytest.approx(expected, rel=1e-5)


def test_pu_weights_at_the_ends():
    p = torch.tensor([[0.0, 0.0, 1.0, 0.5], [1.0, 1.0, 1.0, 1.0]])
    assert pu_weights(p).tolist() == [[1, 1, 0, 0.75], [1, 0, 0, 0]]


def test_gradient_of_pu_weights():
    p = torch.rand(3, 4, dtype=torch.float64) * 0.8 + 0.1
    assert torch.autograd.gradcheck(pu_weights, p.requires_grad_())


@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 4, 1)])
def test_pu_weights_refuse_other_shapes(shape):
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        pu_weights(torch.zeros(shape))


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
def test_pu_weights_refuse_what_is_no_probability(value):
    p = torch.full((2, 4), 0.5)
    p[1, 2] = value
    with pytest.raises(ValueError, match="probabilities"):
        pu_weights(p)
