import numpy as np
import pytest
import torch

from quarterturn.methods.rotnet import RotationNetwork, RotNet


@pytest.fixture
def method(tiny_backbone):
    return RotNet(RotationNetwork(tiny_backbone))


@torch.no_grad()
def test_forward_is_a_loop_over_turned_images(method, batch):
    network = method.network.eval()
    logits = network(batch.images)
    assert logits.shape == (5, 4, 4)
    weight, bias = (p.double().numpy() for p in network.rotation_head.parameters())
    total = 0.0
    for i, image in enumerate(batch.images.numpy()):
        for k in range(4):
            turned = torch.from_numpy(np.rot90(image, k, (1, 2)).copy())[None]
            expected = weight @ network.backbone(turned)[0].double().numpy() + bias
            np.testing.assert_allclose(logits[i, k].numpy(), expected, atol=1e-5)
            total += np.log(np.exp(expected).sum()) - expected[k]
    output = method.losses(network, batch, step=0)
    assert list(output.terms) == ["rotation"]
    assert output.terms["rotation"].item() == pytest.approx(total / 20, rel=1e-5)


def test_the_whole_feature_predicts_the_turn(method, batch):
    output = method.losses(method.network.train(), batch, step=0)
    fc = method.network.backbone.stages["fc"][1]
    gradient = torch.autograd.grad(output.terms["rotation"], fc.weight)[0]
    assert gradient[:6].any()
    assert gradient[6:].any()


def test_losses_change_no_state(method, batch, state_of, unchanged):
    method.network.train()
    before = state_of(method)
    method.losses(method.network, batch, step=3).terms["rotation"].backward()
    assert unchanged(before, state_of(method))


def test_there_is_no_bank(method, batch):
    output = method.losses(method.network, batch, step=0)
    assert output.embeddings is None
    assert output.normalizer is None
    assert method.state_dict() == {}
    assert method.network.embedding_head is None
    assert not method.reads_labels


def test_weight_and_parts(tiny_backbone, batch):
    network = RotationNetwork(tiny_backbone).eval()
    assert RotNet(network).term_weights == {"rotation": 1.0}
    assert RotNet(network, rotation_weight=0.5).term_weights == {"rotation": 0.5}
    with torch.no_grad():
        features = network.backbone(batch.images)
        assert list(network.parts(features)) == ["whole"]
        assert torch.equal(network.parts(features)["whole"], features)
        torch.testing.assert_close(network.rotation_logits(features), network(batch.images)[:, 0])


def test_p_upright_weighs_copies_from_its_phase_on(tiny_backbone, batch):
    network = RotationNetwork(tiny_backbone).eval()
    p = torch.rand(20, 4, generator=torch.Generator().manual_seed(2))
    noise_aware = RotNet(network, p_upright=p, gamma=3.0, noise_aware_from=0.5)
    with torch.no_grad():
        logits = network(batch.images).double()
        early, late = (
            float(noise_aware.losses(network, batch, 0, progress).terms["rotation"])
            for progress in (0.4, 0.5)
        )
        unweighted = float(RotNet(network).losses(network, batch, 0, 1.0).terms["rotation"])
    total = 0.0
    for i, image in enumerate(batch.indices.tolist()):
        for k in range(4):
            weight = 1 if k == 0 else 1 - float(p[image, k]) ** 3
            total -= weight * float(logits[i, k].log_softmax(0)[k])
    assert early == unweighted
    assert late == pytest.approx(total / 20, rel=1e-5)
