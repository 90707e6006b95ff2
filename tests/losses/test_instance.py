"""Shapes: B = 5 images, E = 6, K = 7 noise samples, N = 40."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn.losses.instance import (
    gathered_logits,
    infonce_loss,
    infonce_of_logits,
    instance_logits,
    nce_loss,
    nce_normalizer,
    nce_of_logits,
)

B, E, K, N = 5, 6, 7, 40


def noise_row(noise, i, j):
    return noise[j] if noise.ndim == 2 else noise[i, j]


def plain_nce(v, m, noise, num_instances, temperature, z):
    total, k = 0.0, noise.shape[-2]
    for i in range(len(v)):
        p_positive = math.exp(v[i] @ m[i] / temperature) / z
        total -= math.log(p_positive / (p_positive + k / num_instances))
        for j in range(k):
            p_noise = math.exp(v[i] @ noise_row(noise, i, j) / temperature) / z
            total -= math.log((k / num_instances) / (p_noise + k / num_instances))
    return total / len(v)


def plain_infonce(v, m, noise, temperature, mask=None):
    total = 0.0
    for i in range(len(v)):
        positive = math.exp(v[i] @ m[i] / temperature)
        others = [
            math.exp(v[i] @ noise_row(noise, i, j) / temperature)
            for j in range(noise.shape[-2])
            if mask is None or not mask[i, j]
        ]
        total -= math.log(positive / (positive + sum(others)))
    return total / len(v)


def numeric_gradient(function, x, step=1e-6):
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[place] += step
        below[place] -= step
        gradient[place] = (function(above) - function(below)) / (2 * step)
    return gradient


def unit(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


@pytest.fixture(params=["shared", "per-image"])
def vectors(request, rng):
    """(B, E) embeddings, (B, E) positives, and (K, E) or (B, K, E) noise, float64."""
    noise_shape = (K, E) if request.param == "shared" else (B, K, E)
    v = unit(rng.normal(size=(B, E)))
    m = unit(v + 0.5 * rng.normal(size=(B, E)))
    return v, m, unit(rng.normal(size=noise_shape))


def tensors(arrays, dtype=torch.float32):
    return [torch.tensor(a, dtype=dtype) for a in arrays]


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
@pytest.mark.parametrize("z", [3.0, 500.0])
def test_nce_is_the_formula(vectors, temperature, z):
    constants = {"num_instances": N, "temperature": temperature, "normalizer": z}
    found = nce_loss(*tensors(vectors), **constants)
    assert found.shape == ()
    expected = plain_nce(*vectors, N, temperature, z)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    constants["normalizer"] = torch.tensor(z)
    assert nce_loss(*tensors(vectors), **constants).item() == found.item()


def test_nce_by_hand():
    v, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    # N = 2, K = 1: K/N = 1/2. P of the positive is e, of the noise 1. The loss is
    # log(1 + 1 / (2 e)) + log(3) = 0.168848 + 1.098612.
    found = nce_loss(v, v, other, num_instances=2, temperature=1.0, normalizer=1.0)
    assert found.item() == pytest.approx(1.267460, abs=2e-6)
    # Three noise rows, temperature 1/2, Z = 4, N = 6: K/N = 1/2; P = e^2/4 = 1.847264,
    # P_j = 1/4, 1/4, e^-2/4 = 0.0338338. The loss is log(1 + 0.5 / 1.847264) + 2 log(1.5)
    # + log(1.0676676) = 0.239545 + 0.810930 + 0.065477.
    noise = torch.tensor([[0.0, 1.0], [0.0, -1.0], [-1.0, 0.0]])
    found = nce_loss(v, v, noise, num_instances=6, temperature=0.5, normalizer=4.0)
    assert found.item() == pytest.approx(1.115952, abs=2e-6)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
@pytest.mark.parametrize("masked", [False, True])
def test_infonce_is_the_formula(vectors, temperature, masked, rng):
    mask = rng.uniform(size=(B, K)) < 0.3 if masked else None
    given = None if mask is None else torch.from_numpy(mask)
    found = infonce_loss(*tensors(vectors), temperature=temperature, mask=given)
    assert found.shape == ()
    assert found.item() == pytest.approx(plain_infonce(*vectors, temperature, mask), rel=1e-5)


def test_infonce_by_hand():
    v, noise = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    expected = math.log(1 + math.exp(-1) + math.exp(-2))
    assert infonce_loss(v, v, noise, temperature=1.0).item() == pytest.approx(expected, rel=1e-6)
    mask = torch.tensor([[False, True]])
    found = infonce_loss(v, v, noise, temperature=1.0, mask=mask).item()
    assert found == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-6)


def test_a_masked_entry_is_as_if_left_out(rng):
    v, m, noise = tensors([unit(rng.normal(size=s)) for s in [(B, E), (B, E), (B, K, E)]])
    mask = torch.zeros(B, K, dtype=torch.bool)
    mask[:, 3] = True
    rest = torch.cat([noise[:, :3], noise[:, 4:]], dim=1)
    left_out = infonce_loss(v, m, rest, temperature=0.2)
    found = infonce_loss(v, m, noise, temperature=0.2, mask=mask)
    assert found.item() == pytest.approx(left_out.item(), rel=1e-6)
    assert infonce_loss(v, m, noise, temperature=0.2, mask=mask | True).item() == 0


def test_shared_noise_is_the_same_noise_for_each_image(rng):
    v, m, noise = tensors([unit(rng.normal(size=s)) for s in [(B, E), (B, E), (K, E)]])
    each = noise.expand(B, K, E)
    nce = {"num_instances": N, "temperature": 0.07, "normalizer": 9.0}
    assert nce_loss(v, m, noise, **nce).item() == pytest.approx(
        nce_loss(v, m, each, **nce).item(), rel=1e-6
    )
    assert infonce_loss(v, m, noise, temperature=0.07).item() == pytest.approx(
        infonce_loss(v, m, each, temperature=0.07).item(), rel=1e-6
    )
    z = {"num_instances": N, "temperature": 0.07}
    assert nce_normalizer(v, m, noise, **z).item() == pytest.approx(
        nce_normalizer(v, m, each, **z).item(), rel=1e-6
    )


def test_weights_of_images_are_a_mean_over_their_sum(vectors, rng):
    v, m, noise = vectors
    weights = rng.uniform(0.1, 3, B)
    logits = instance_logits(*tensors(vectors), 0.2)
    one = [slice(i, i + 1) for i in range(B)]
    alone = [(v[i], m[i], noise if noise.ndim == 2 else noise[i]) for i in one]
    given = torch.from_numpy(weights).float()

    each = [plain_nce(*image, N, 0.2, 60.0) for image in alone]
    constants = {"num_instances": N, "normalizer": 60.0}
    found = nce_of_logits(*logits, **constants, weights=given).item()
    assert found == pytest.approx(np.dot(weights, each) / weights.sum(), rel=1e-5)

    mask = rng.uniform(size=(B, K)) < 0.3
    each = [plain_infonce(*image, 0.2, mask[i]) for i, image in zip(one, alone, strict=True)]
    found = infonce_of_logits(*logits, torch.from_numpy(mask), given).item()
    assert found == pytest.approx(np.dot(weights, each) / weights.sum(), rel=1e-5)


def test_gradient_of_nce(vectors):
    v, m, noise = vectors
    given = tensors(vectors)
    given[0].requires_grad_()
    nce_loss(*given, num_instances=N, temperature=0.2, normalizer=60.0).backward()
    expected = numeric_gradient(lambda x: plain_nce(x, m, noise, N, 0.2, 60.0), v)
    np.testing.assert_allclose(given[0].grad.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_gradient_of_infonce(vectors):
    v, m, noise = vectors
    mask = np.zeros((B, K), dtype=bool)
    mask[1, 2] = mask[4, 0] = True
    given = tensors(vectors)
    given[0].requires_grad_()
    infonce_loss(*given, temperature=0.2, mask=torch.from_numpy(mask)).backward()
    expected = numeric_gradient(lambda x: plain_infonce(x, m, noise, 0.2, mask), v)
    np.testing.assert_allclose(given[0].grad.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_normalizer_is_n_times_the_mean_over_positives_and_noise(vectors):
    v, m, noise = vectors
    values = []
    for i in range(B):
        values.append(math.exp(v[i] @ m[i] / 0.2))
        values += [math.exp(v[i] @ noise_row(noise, i, j) / 0.2) for j in range(K)]
    assert len(values) == B * (K + 1)
    given = tensors(vectors)
    given[0].requires_grad_()
    z = nce_normalizer(*given, num_instances=N, temperature=0.2)
    assert z.item() == pytest.approx(N * np.mean(values), rel=1e-5)
    assert z.dtype == torch.float32
    assert not z.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(vectors, dtype):
    halves = tensors(vectors, dtype)
    rounded = [h.double().numpy() for h in halves]
    found = infonce_loss(*halves, temperature=0.07)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(plain_infonce(*rounded, 0.07), rel=1e-5)
    assert found.item() == pytest.approx(plain_infonce(*vectors, 0.07), rel=0.1)
    found = nce_loss(*halves, num_instances=N, temperature=0.07, normalizer=30.0)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(plain_nce(*rounded, N, 0.07, 30.0), rel=1e-5)
    assert found.item() == pytest.approx(plain_nce(*vectors, N, 0.07, 30.0), rel=0.1)


def test_under_autocast_the_products_stay_in_float32(vectors):
    given = tensors(vectors)
    constants = {"num_instances": N, "temperature": 0.07}
    losses = [
        lambda: infonce_loss(*given, temperature=0.07),
        lambda: nce_loss(*given, **constants, normalizer=30.0),
        lambda: nce_normalizer(*given, **constants),
    ]
    for loss in losses:
        plain = loss()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = loss()
        assert mixed.dtype == torch.float32
        assert mixed.item() == pytest.approx(plain.item(), rel=1e-6)


@pytest.mark.parametrize("z", [1e-20, 1e30])
def test_extremes_do_not_overflow(z):
    v = F.normalize(torch.randn(B, E), dim=1)
    noise = F.normalize(torch.randn(K, E), dim=1)
    v.requires_grad_()
    loss = nce_loss(v, v.detach(), noise, num_instances=N, temperature=0.005, normalizer=z)
    loss.backward()
    assert loss.isfinite()
    assert v.grad.isfinite().all()
    log_c, log_z = math.log(K / N), math.log(z)
    with torch.no_grad():
        positive = (v * v).sum(dim=1).double() / 0.005
        others = (v.double() @ noise.double().T) / 0.005
        expected = np.logaddexp(0, log_c + log_z - positive.numpy()) + np.logaddexp(
            0, others.numpy() - log_z - log_c
        ).sum(axis=1)
    assert loss.item() == pytest.approx(expected.mean(), rel=1e-4)


class TestGatheredLogits:
    """Products with a bank's rows, without copies of them."""

    @pytest.fixture
    def bank(self, rng):
        """(N, E) rows, (B, E) embeddings, (B,) own numbers, (B, K) noise with a repetition."""
        chosen = rng.integers(0, N, (B, K))
        chosen[0, 1] = chosen[0, 0]
        values = unit(rng.normal(size=(N, E))), unit(rng.normal(size=(B, E)))
        rows, v = (torch.from_numpy(x).float() for x in values)
        return rows, v.requires_grad_(), torch.from_numpy(rng.permutation(N)[:B]), chosen

    def test_values(self, bank):
        rows, v, indices, chosen = bank
        of_positive, of_noise = gathered_logits(v, rows, indices, torch.from_numpy(chosen), 0.3)
        for i in range(B):
            own = (rows[indices[i]] @ v[i]).item() / 0.3
            assert of_positive[i].item() == pytest.approx(own, rel=1e-5)
            for j in range(K):
                expected = (rows[chosen[i, j]] @ v[i]).item() / 0.3
                assert of_noise[i, j].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)

    def test_gradient_is_that_of_a_plain_gather(self, bank):
        rows, v, indices, chosen = bank
        drawn = torch.from_numpy(chosen)
        weights = torch.randn(B, K)
        positive, noise = gathered_logits(v, rows, indices, drawn, 0.3)
        ((noise * weights).exp().sum() + positive.square().sum()).backward()
        found = v.grad.clone()
        v.grad = None
        positive, noise = instance_logits(v, rows[indices], rows[drawn], 0.3)
        ((noise * weights).exp().sum() + positive.square().sum()).backward()
        torch.testing.assert_close(found, v.grad, rtol=1e-4, atol=1e-5)

    def test_the_bank_gets_no_gradient_and_keeps_its_values(self, bank):
        rows, v, indices, chosen = bank
        before = rows.clone()
        _, noise = gathered_logits(v, rows, indices, torch.from_numpy(chosen), 0.3)
        noise.sum().backward()
        assert rows.grad is None
        assert torch.equal(rows, before)

    def test_float32_under_autocast(self, bank):
        rows, v, indices, chosen = bank
        drawn = torch.from_numpy(chosen)
        plain = gathered_logits(v, rows, indices, drawn, 0.3)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = gathered_logits(v, rows, indices, drawn, 0.3)
        for a, b in zip(plain, mixed, strict=True):
            assert b.dtype == torch.float32
            assert torch.equal(a, b)
