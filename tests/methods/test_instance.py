import math

import numpy as np
import pytest
import torch

from quarterturn.methods.discrimination import InstanceDiscrimination
from quarterturn.methods.instance import Instance, InstanceNetwork
from quarterturn.methods.instance_options import InstanceOptions

N, E = 20, 3


@pytest.fixture
def make(tiny_backbone):
    network = InstanceNetwork(tiny_backbone, E)

    def build(**settings) -> Instance:
        settings = InstanceOptions(num_noise=16, **settings)
        return Instance(network, InstanceDiscrimination(N, E, settings))

    return build


@torch.no_grad()
def test_forward_is_a_loop_over_upright_images(make, batch):
    network = make().network.eval()
    found = network(batch.images)
    assert found.shape == (5, E)
    weight, bias = (p.double().numpy() for p in network.embedding_head.parameters())
    for image, embedding in zip(batch.images, found, strict=True):
        mapped = weight @ network.backbone(image[None])[0].double().numpy() + bias
        expected = mapped / math.sqrt(mapped @ mapped)
        np.testing.assert_allclose(embedding.numpy(), expected, atol=1e-5)


def test_images_are_seen_once_and_not_turned(make, batch):
    network = make().network.eval()
    seen = []
    network.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(batch.images)
    assert len(seen) == 1
    assert torch.equal(seen[0], batch.images)


@pytest.mark.parametrize("instance_loss", ["nce", "infonce"])
@pytest.mark.parametrize("noise", ["per-image", "shared"])
def test_losses_change_no_state(make, batch, state_of, unchanged, instance_loss, noise):
    method = make(instance_loss=instance_loss, noise=noise)
    method.network.train()
    before = state_of(method)
    output = method.losses(method.network, batch, step=6)
    output.terms["instance"].backward()
    assert unchanged(before, state_of(method))
    assert (output.normalizer is not None) == (instance_loss == "nce")


def test_the_term_is_the_instance_loss(make, batch):
    method = make()
    method.network.eval()
    output = method.losses(method.network, batch, step=6)
    assert list(output.terms) == ["instance"]
    with torch.no_grad():
        embedding = method.network(batch.images)
        expected, _ = method.discrimination.loss(embedding, batch.indices, 6)
    assert output.terms["instance"].item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(output.embeddings, embedding)
    assert not output.embeddings.requires_grad
    assert output.terms["instance"].requires_grad


def test_after_step_moves_the_rows_of_the_batch(make, batch):
    method = make()
    old = method.discrimination.bank.rows.clone()
    output = method.losses(method.network, batch, step=0)
    method.after_step(batch.indices, output.embeddings, output.normalizer)
    rows = method.discrimination.bank.rows
    for row, v in zip(batch.indices.tolist(), output.embeddings, strict=True):
        mixed = 0.5 * old[row] + 0.5 * v
        torch.testing.assert_close(rows[row], mixed / mixed.norm())
    others = [i for i in range(N) if i not in batch.indices.tolist()]
    assert torch.equal(rows[others], old[others])


def test_weight_and_parts(make, batch):
    method = make()
    assert method.term_weights == {"instance": 1.0}
    half = Instance(method.network, method.discrimination, instance_weight=0.5)
    assert half.term_weights == {"instance": 0.5}
    network = method.network.eval()
    assert network.rotation_head is None
    with torch.no_grad():
        features = network.backbone(batch.images)
        assert list(network.parts(features)) == ["whole"]
        torch.testing.assert_close(network.embed(features), network(batch.images))


def test_state_comes_back(make, batch):
    method, other = make(instance_loss="nce"), make(instance_loss="nce")
    output = method.losses(method.network, batch, step=0)
    method.after_step(batch.indices, output.embeddings, output.normalizer)
    assert not torch.equal(other.discrimination.bank.rows, method.discrimination.bank.rows)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.discrimination.bank.rows, method.discrimination.bank.rows)
    assert other.discrimination.bank.normalizer.item() == output.normalizer.item()
