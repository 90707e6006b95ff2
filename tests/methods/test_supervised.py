from dataclasses import replace

import numpy as np
import pytest
import torch

from quarterturn.methods.supervised import ClassifierNetwork, SupervisedTurned


@pytest.fixture
def method(tiny_backbone):
    return SupervisedTurned(ClassifierNetwork(tiny_backbone, num_classes=3))


@torch.no_grad()
def test_forward_and_loss_are_a_loop_over_turned_images(method, batch):
    network = method.network.eval()
    logits = network(batch.images)
    assert logits.shape == (5, 4, 3)
    weight, bias = (p.double().numpy() for p in network.classifier.parameters())
    total = 0.0
    for i, image in enumerate(batch.images.numpy()):
        for k in range(4):
            turned = torch.from_numpy(np.rot90(image, k, (1, 2)).copy())[None]
            expected = weight @ network.backbone(turned)[0].double().numpy() + bias
            np.testing.assert_allclose(logits[i, k].numpy(), expected, atol=1e-5)
            total += np.log(np.exp(expected).sum()) - expected[int(batch.labels[i])]
    output = method.losses(network, batch, step=0)
    assert list(output.terms) == ["classification"]
    assert output.terms["classification"].item() == pytest.approx(total / 20, rel=1e-5)
    assert output.embeddings is None


def test_losses_change_no_state(method, batch, state_of, unchanged):
    method.network.train()
    before = state_of(method)
    method.losses(method.network, batch, step=0).terms["classification"].backward()
    assert unchanged(before, state_of(method))


def test_it_is_the_one_method_that_reads_labels(method, batch):
    assert method.reads_labels
    assert method.term_weights == {"classification": 1.0}
    with pytest.raises(AssertionError):
        method.losses(method.network, replace(batch, labels=None), step=0)


@torch.no_grad()
def test_logits_can_be_cosines(tiny_backbone, batch):
    network = ClassifierNetwork(tiny_backbone, num_classes=3, cosine=True).eval()
    logits = network(batch.images)
    assert logits.shape == (5, 4, 3)
    features = network.features_of_turns(batch.images)
    expected = torch.cosine_similarity(features[..., None, :], network.classifier.weight, dim=-1)
    torch.testing.assert_close(logits, expected)
    assert torch.equal(network.parts(features)["logits"], logits)
