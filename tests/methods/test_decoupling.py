"""Shapes: B = 5 images of 8 px out of N = 20, D = 12 features, E = 3, K = 16."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from quarterturn.methods.decoupling import DecoupledNetwork, Decoupling
from quarterturn.methods.decoupling_options import DecouplingOptions
from quarterturn.methods.discrimination import InstanceDiscrimination

N, D, E = 20, 12, 3


@pytest.fixture
def make(tiny_backbone):
    """Builds the method; keywords are Decoupling's, or ``settings`` for the instance loss."""
    network = DecoupledNetwork(tiny_backbone, E)

    def build(settings: DecouplingOptions | None = None, **keywords) -> Decoupling:
        settings = settings or DecouplingOptions(num_noise=16)
        return Decoupling(network, InstanceDiscrimination(N, E, settings), **keywords)

    return build


def plain_features(network, images) -> np.ndarray:
    """(B, 4, D) features in eval mode, one turned image at a time."""
    return np.stack(
        [
            [
                network.backbone(torch.from_numpy(np.rot90(image, k, (1, 2)).copy())[None])[0]
                for k in range(4)
            ]
            for image in images.numpy()
        ]
    ).astype(np.float64)


@torch.no_grad()
def test_forward_is_a_loop_over_turned_images(make, batch):
    network = make().network.eval()
    logits, invariant, embedding = network(batch.images)
    assert logits.shape == (5, 4, 4)
    assert invariant.shape == (5, 4, D // 2)
    assert embedding.shape == (5, E)
    features = plain_features(network, batch.images)
    rotation_w, rotation_b = (p.double().numpy() for p in network.rotation_head.parameters())
    embed_w, embed_b = (p.double().numpy() for p in network.embedding_head.parameters())
    for i in range(5):
        for k in range(4):
            expected = rotation_w @ features[i, k, : D // 2] + rotation_b
            np.testing.assert_allclose(logits[i, k].numpy(), expected, atol=1e-5)
            np.testing.assert_allclose(invariant[i, k].numpy(), features[i, k, D // 2 :], atol=1e-5)
        mapped = embed_w @ features[i, :, D // 2 :].mean(axis=0) + embed_b
        expected = mapped / math.sqrt(mapped @ mapped)
        np.testing.assert_allclose(embedding[i].numpy(), expected, atol=1e-5)


def test_turned_input_permutes_the_copies_and_keeps_the_embedding(make, batch):
    network = make().network.eval()
    with torch.no_grad():
        logits, invariant, embedding = network(batch.images)
        turned = network(torch.rot90(batch.images, 1, (-2, -1)))
    torch.testing.assert_close(turned[0], logits.roll(-1, dims=1))
    torch.testing.assert_close(turned[1], invariant.roll(-1, dims=1))
    torch.testing.assert_close(turned[2], embedding)


def test_all_copies_are_one_batch_for_batch_norm(make, batch):
    network = make().network.train()
    conv, norm = network.backbone.stages["conv"][:2]
    before = norm.running_mean.clone()
    with torch.no_grad():
        network(batch.images)
        copies = torch.cat([torch.rot90(batch.images, k, (-2, -1)) for k in range(4)])
        mean = conv(copies).mean(dim=(0, 2, 3))
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close(norm.running_mean, 0.9 * before + 0.1 * mean)


@torch.no_grad()
def test_terms_are_the_three_losses(make, batch):
    method = make()
    method.network.eval()
    output = method.losses(method.network, batch, step=4)
    assert list(output.terms) == ["rotation", "invariance", "instance"]

    features = plain_features(method.network, batch.images)
    weight, bias = (p.double().numpy() for p in method.network.rotation_head.parameters())
    rotation = invariance = 0.0
    for copies in features:
        mean = copies[:, D // 2 :].mean(axis=0)
        for k in range(4):
            logits = weight @ copies[k, : D // 2] + bias
            rotation += np.log(np.exp(logits).sum()) - logits[k]
            invariance += ((copies[k, D // 2 :] - mean) ** 2).sum()
    assert output.terms["rotation"].item() == pytest.approx(rotation / 20, rel=1e-5)
    assert output.terms["invariance"].item() == pytest.approx(invariance / (20 * 6), rel=1e-4)

    embedding = method.network(batch.images)[2]
    instance, _ = method.discrimination.loss(embedding, batch.indices, 4)
    assert output.terms["instance"].item() == pytest.approx(instance.item(), rel=1e-6)
    torch.testing.assert_close(output.embeddings, embedding)
    assert output.normalizer is None


def test_each_term_trains_its_own_half(make, batch):
    method = make()
    fc = method.network.backbone.stages["fc"][1]
    output = method.losses(method.network.train(), batch, step=0)
    assert not output.embeddings.requires_grad
    for term, first, last in [
        ("rotation", True, False),
        ("invariance", False, True),
        ("instance", False, True),
    ]:
        gradient = torch.autograd.grad(output.terms[term], fc.weight, retain_graph=True)[0]
        assert bool(gradient[: D // 2].any()) is first, term
        assert bool(gradient[D // 2 :].any()) is last, term


@pytest.mark.parametrize("instance_loss", ["nce", "infonce"])
@pytest.mark.parametrize("noise", ["per-image", "shared"])
def test_losses_change_no_state(make, batch, state_of, unchanged, instance_loss, noise):
    settings = DecouplingOptions(instance_loss=instance_loss, noise=noise, num_noise=16)
    method = make(settings, p_upright=torch.rand(N, 4))
    method.network.train()
    before, weights = state_of(method), method.copy_weights.clone()
    first = method.losses(method.network, batch, step=2)
    sum(first.terms.values()).backward()
    assert unchanged(before, state_of(method))
    assert torch.equal(method.copy_weights, weights)
    again = method.losses(method.network, batch, step=2)
    for name, term in first.terms.items():
        assert again.terms[name].item() == term.item()


def test_losses_go_through_the_network_that_is_given(make, batch):
    class Doubled(nn.Module):
        def forward(self, images):
            logits, invariant, embedding = method.network(images)
            return logits, 2 * invariant, embedding

    method = make()
    method.network.eval()
    plain = method.losses(method.network, batch, 0).terms["invariance"]
    doubled = method.losses(Doubled(), batch, 0).terms["invariance"]
    assert doubled.item() == pytest.approx(4 * plain.item(), rel=1e-5)


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


def test_p_upright_weighs_copies_from_its_phase_on(make, batch):
    p = torch.rand(N, 4, generator=torch.Generator().manual_seed(2))
    method = make(p_upright=p, gamma=3.0, noise_aware_from=210 / 245)
    plain = make()
    method.network.eval()
    with torch.no_grad():
        logits = method.network(batch.images)[0].double()
        losses = {
            epoch: float(method.losses(method.network, batch, 9, epoch / 245).terms["rotation"])
            for epoch in (0, 209, 210, 211)
        }
        unweighted = float(plain.losses(plain.network, batch, 9, 1.0).terms["rotation"])
    total = 0.0
    for i, image in enumerate(batch.indices.tolist()):
        for k in range(4):
            w = 1 if k == 0 else 1 - float(p[image, k]) ** 3
            total -= w * float(logits[i, k].log_softmax(0)[k])
    assert losses[0] == losses[209] == unweighted
    assert losses[210] == losses[211] == pytest.approx(total / 20, rel=1e-5)
    assert losses[210] < unweighted


def test_p_upright_of_double_precision_leaves_the_loss_in_float32(make, batch):
    method = make(p_upright=torch.rand(N, 4, dtype=torch.float64))
    terms = method.losses(method.network, batch, 0).terms
    assert {name: term.dtype for name, term in terms.items()} == dict.fromkeys(
        ("rotation", "invariance", "instance"), torch.float32
    )


def test_term_weights_and_their_defaults(make):
    assert make().term_weights == {"rotation": 1.0, "invariance": 1.0, "instance": 1.0}
    method = make(rotation_weight=2.0, invariance_weight=3.0, instance_weight=4.0)
    assert method.term_weights == {"rotation": 2.0, "invariance": 3.0, "instance": 4.0}
    assert not method.reads_labels


def test_parts_have_the_names_a_user_knows(make, batch):
    network = make().network.eval()
    with torch.no_grad():
        features = network.backbone(batch.images)
        logits, _, _ = network(batch.images)
        parts = network.parts(features)
        assert list(parts) == ["rotation", "invariant", "both"]
        assert torch.equal(parts["rotation"], features[:, : D // 2])
        assert torch.equal(parts["invariant"], features[:, D // 2 :])
        assert torch.equal(parts["both"], features)
        torch.testing.assert_close(network.rotation_logits(features), logits[:, 0])
        embedded = network.embed(features)
        torch.testing.assert_close(embedded, network.embedding_head(features[:, D // 2 :]))


def test_state_comes_back(make, batch):
    settings = DecouplingOptions(instance_loss="nce", num_noise=16)
    method, other = make(settings), make(settings)
    output = method.losses(method.network, batch, step=0)
    method.after_step(batch.indices, output.embeddings, output.normalizer)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.discrimination.bank.rows, method.discrimination.bank.rows)
    assert other.discrimination.bank.normalizer.item() == output.normalizer.item()
