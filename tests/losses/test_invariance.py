import numpy as np
import pytest
import torch

from quarterturn.losses.invariance import invariance_loss


def plain_loss(features: np.ndarray) -> float:
    total, count = 0.0, 0
    for copies in features.astype(np.float64):
        mean = sum(copies[k] for k in range(4)) / 4
        for k in range(4):
            for d in range(copies.shape[1]):
                total += (copies[k, d] - mean[d]) ** 2
                count += 1
    return total / count


@pytest.mark.parametrize("shape", [(1, 4, 1), (5, 4, 7)])
def test_value_is_the_formulas(shape, rng):
    features = rng.normal(size=shape)
    found = invariance_loss(torch.from_numpy(features))
    assert found.shape == ()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(plain_loss(features), rel=1e-6)


def test_value_by_hand():
    # Mean 2; squared distances 4, 0, 0, 4.
    assert invariance_loss(torch.tensor([0.0, 2, 2, 4]).view(1, 4, 1)).item() == 2
    # A second image without spread halves it: the mean is over all elements.
    both = torch.tensor([[0.0, 2, 2, 4], [3, 3, 3, 3]]).view(2, 4, 1)
    assert invariance_loss(both).item() == 1


def test_equal_copies_cost_nothing_and_images_do_not_mix():
    features = torch.randn(6, 1, 9).expand(6, 4, 9)
    assert invariance_loss(features).item() < 1e-12
    shifted = torch.randn(6, 4, 9)
    # What all copies of an image have in common takes no part.
    common = shifted + 3 * torch.randn(6, 1, 9)
    assert invariance_loss(common).item() == pytest.approx(invariance_loss(shifted).item(), 1e-5)


def test_gradient_pulls_each_copy_to_the_mean(rng):
    values = rng.normal(size=(3, 4, 5))
    features = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    invariance_loss(features).backward()
    expected = 2 * (values - values.mean(axis=1, keepdims=True)) / values.size
    np.testing.assert_allclose(features.grad.numpy(), expected, atol=1e-7)


def test_the_mean_is_a_fixed_target():
    # The first derivative is the same with and without a gradient through the mean, since the
    # distances sum to zero; the second is diagonal only where the mean is fixed.
    features = torch.randn(1, 4, 2)
    hessian = torch.autograd.functional.hessian(invariance_loss, features).view(8, 8)
    torch.testing.assert_close(hessian, 2 / 8 * torch.eye(8))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    features = torch.randn(8, 4, 32)
    found = invariance_loss(features.to(dtype))
    assert found.dtype == torch.float32
    exact = plain_loss(features.to(dtype).double().numpy())
    assert found.item() == pytest.approx(exact, rel=1e-6)
    assert found.item() == pytest.approx(invariance_loss(features).item(), rel=0.01)


def test_weights_of_images_divide_by_their_sum(rng):
    features = torch.tensor(rng.normal(size=(5, 4, 6)), dtype=torch.float32)
    weights = torch.tensor([0.5, 1.0, 0.0, 2.0, 0.25])
    by_image = torch.stack([invariance_loss(one[None]) for one in features])
    expected = (by_image * weights).sum() / weights.sum()
    assert invariance_loss(features, weights).item() == pytest.approx(expected.item(), rel=1e-6)
    alike = invariance_loss(features, torch.full((5,), 3.0))
    assert alike.item() == pytest.approx(invariance_loss(features).item(), rel=1e-6)
