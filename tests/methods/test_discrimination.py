"""Shapes: B = 5 images, E = 4, K = 64 noise samples, N = 20."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn.methods.discrimination import InstanceDiscrimination
from quarterturn.methods.instance_options import InstanceOptions

N, E, K = 20, 4, 64
INDICES = torch.tensor([11, 3, 17, 0, 8])


def make(instance_loss="infonce", noise="per-image", *, seed=0, num_noise=K, **keywords):
    settings = InstanceOptions(
        instance_loss=instance_loss, noise=noise, num_noise=num_noise, temperature=0.2
    )
    return InstanceDiscrimination(N, E, settings, seed=seed, **keywords)


@pytest.fixture
def embedding():
    return F.normalize(torch.randn(5, E), dim=1)


def noise_of(discrimination, i, step):
    """The noise of image number ``INDICES[i]``, as a list."""
    drawn = discrimination.draw_noise(INDICES, step)
    return (drawn if drawn.ndim == 1 else drawn[i]).tolist()


@pytest.mark.parametrize(("noise", "shape"), [("per-image", (5, K)), ("shared", (K,))])
def test_noise_depends_only_on_seed_step_and_image(noise, shape):
    one = make(noise=noise)
    drawn = one.draw_noise(INDICES, step=7)
    assert drawn.shape == shape
    assert drawn.dtype == torch.int64
    places = torch.tensor([4, 1, 0])
    some = one.draw_noise(INDICES[places], step=7)
    assert torch.equal(some, drawn[places] if noise == "per-image" else drawn)
    assert torch.equal(make(noise=noise).draw_noise(INDICES, step=7), drawn)
    assert not torch.equal(one.draw_noise(INDICES, step=8), drawn)
    assert not torch.equal(make(noise=noise, seed=1).draw_noise(INDICES, step=7), drawn)


def test_noise_per_image_differs_between_images():
    drawn = make().draw_noise(INDICES, step=0)
    assert len({tuple(row) for row in drawn.tolist()}) == 5


@pytest.mark.parametrize("noise", ["per-image", "shared"])
def test_noise_is_uniform_with_replacement(noise):
    one = make(noise=noise, num_noise=4000)
    drawn = torch.cat([one.draw_noise(INDICES, step).flatten() for step in range(4)])
    counts = np.bincount(drawn.numpy(), minlength=N)
    assert len(counts) == N
    expected = len(drawn) / N
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - (N - 1)) < 4 * math.sqrt(2 * (N - 1))


@pytest.mark.parametrize("noise", ["per-image", "shared"])
def test_infonce_leaves_the_image_itself_out(noise, embedding):
    one = make(noise=noise)
    found, normalizer = one.loss(embedding, INDICES, step=3)
    assert normalizer is None
    rows, v = one.bank.rows.double().numpy(), embedding.double().numpy()
    total, left_out = 0.0, 0
    for i, image in enumerate(INDICES.tolist()):
        positive = math.exp(v[i] @ rows[image] / 0.2)
        chosen = noise_of(one, i, 3)
        others = [j for j in chosen if j != image]
        left_out += len(chosen) - len(others)
        total -= math.log(
            positive / (positive + sum(math.exp(v[i] @ rows[j] / 0.2) for j in others))
        )
    assert left_out > 0  # or the test would not tell
    assert found.item() == pytest.approx(total / 5, rel=1e-5)


def plain_nce(one, embedding, step, z):
    rows, v = one.bank.rows.double().numpy(), embedding.double().numpy()
    total = 0.0
    for i, image in enumerate(INDICES.tolist()):
        p = math.exp(v[i] @ rows[image] / 0.2) / z
        total -= math.log(p / (p + K / N))
        for j in noise_of(one, i, step):  # the image itself is not masked out
            p = math.exp(v[i] @ rows[j] / 0.2) / z
            total -= math.log((K / N) / (p + K / N))
    return total / 5


@pytest.mark.parametrize("noise", ["per-image", "shared"])
def test_nce_sets_z_once_and_keeps_it(noise, embedding):
    one = make("nce", noise)
    rows, v = one.bank.rows.double().numpy(), embedding.double().numpy()
    values = []
    for i, image in enumerate(INDICES.tolist()):
        values += [math.exp(v[i] @ rows[j] / 0.2) for j in [image, *noise_of(one, i, 0)]]
    z = N * np.mean(values)

    first, normalizer = one.loss(embedding, INDICES, step=0)
    assert normalizer.item() == pytest.approx(z, rel=1e-5)
    assert first.item() == pytest.approx(plain_nce(one, embedding, 0, z), rel=1e-5)
    assert one.bank.normalizer is None  # `loss` changes no state
    one.after_step(INDICES, embedding, normalizer)
    assert one.bank.normalizer.item() == normalizer.item()

    other = F.normalize(torch.randn(5, E), dim=1)
    second, again = one.loss(other, INDICES, step=1)
    assert again is None
    assert second.item() == pytest.approx(plain_nce(one, other, 1, z), rel=1e-5)
    one.after_step(INDICES, other, again)
    assert one.bank.normalizer.item() == normalizer.item()


def test_z_is_averaged_over_the_processes(embedding):
    alone = make("nce").loss(embedding, INDICES, step=0)[1]
    together = make("nce", mean_over_processes=lambda z: z + 10)
    loss, z = together.loss(embedding, INDICES, step=0)
    assert z.item() == pytest.approx(alone.item() + 10, rel=1e-6)
    assert loss.item() == pytest.approx(plain_nce(together, embedding, 0, z.item()), rel=1e-5)


@pytest.mark.parametrize("instance_loss", ["nce", "infonce"])
def test_no_gradient_reaches_the_bank(instance_loss, embedding):
    one = make(instance_loss)
    embedding.requires_grad_()
    one.loss(embedding, INDICES, step=0)[0].backward()
    assert embedding.grad.abs().sum() > 0
    assert not one.bank.rows.requires_grad


def test_the_bank_follows_from_the_settings(embedding):
    settings = InstanceOptions(bank_momentum=0.9)
    one = InstanceDiscrimination(N, E, settings, seed=6)
    same = InstanceDiscrimination(N, E, settings, seed=6)
    assert one.bank.rows.shape == (N, E)
    assert torch.equal(one.bank.rows, same.bank.rows)
    old = one.bank.rows.clone()
    one.after_step(INDICES, embedding)
    expected = F.normalize(0.9 * old[INDICES] + 0.1 * embedding, dim=1)
    torch.testing.assert_close(one.bank.rows[INDICES], expected)
    same.load_state_dict(one.state_dict())
    assert torch.equal(same.bank.rows, one.bank.rows)
