from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn.errors import ConfigError
from quarterturn.losses.ldam import LDAMLoss, ldam_margins
from quarterturn.losses.logit_adjustment import log_prior
from quarterturn.methods.classifier import Classification, ClassifierNetwork
from quarterturn.models.backbone import Backbone


@pytest.fixture
def method(tiny_backbone):
    return Classification(
        ClassifierNetwork(tiny_backbone, num_classes=3), F.cross_entropy, turned=True
    )


@pytest.fixture
def upright(tiny_backbone):
    return Classification(ClassifierNetwork(tiny_backbone, num_classes=3), F.cross_entropy)


@torch.no_grad()
@pytest.mark.parametrize("turned", [False, True])
def test_forward_and_loss_are_a_loop_over_images(method, batch, turned):
    method.turned = turned
    network = method.network.eval()
    assert network(batch.images).shape == (5, 3)
    weight, bias = (p.double().numpy() for p in network.classifier.parameters())
    total, turns = 0.0, 4 if turned else 1
    for i, image in enumerate(batch.images.numpy()):
        for k in range(turns):
            copy = torch.from_numpy(np.rot90(image, k, (1, 2)).copy())[None]
            logits = weight @ network.backbone(copy)[0].double().numpy() + bias
            np.testing.assert_allclose(network(copy)[0].numpy(), logits, atol=1e-5)
            total += np.log(np.exp(logits).sum()) - logits[int(batch.labels[i])]
    output = method.losses(network, batch, step=0)
    assert list(output.terms) == ["classification"]
    expected = total / (5 * turns)
    assert output.terms["classification"].item() == pytest.approx(expected, rel=1e-5)
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
def test_deferred_weights_turn_on_at_their_epoch(upright, batch):
    weights = torch.tensor([0.2, 1.0, 1.8])
    upright.class_weights, upright.reweight_from = weights, 160 / 200
    network = upright.network.eval()
    logits = network(batch.images)

    def loss(epoch):
        return upright.losses(network, batch, 0, epoch / 200).terms["classification"].item()

    plain = F.cross_entropy(logits, batch.labels).item()
    weighted = F.cross_entropy(logits, batch.labels, weights).item()
    assert plain != pytest.approx(weighted, rel=1e-3)
    assert [loss(0), loss(159)] == [plain, plain]
    assert [loss(160), loss(199)] == [weighted, weighted]


def test_reports_settings_when_they_take_effect(tiny_backbone):
    counts = torch.tensor([100, 10, 1])
    method = Classification(
        ClassifierNetwork(tiny_backbone, 3, cosine=True),
        LDAMLoss(counts),
        class_counts=counts,
        class_weights=torch.tensor([0.25, 0.75, 2.0]),
        reweight_from=0.5,
    )
    told = {epoch: news for epoch in range(4) if (news := method.before_epoch(epoch, 4))}
    assert list(told) == [0, 2]
    assert told[0]["class_counts"] == [100, 10, 1]
    assert told[0]["margins"] == pytest.approx(ldam_margins(counts).tolist())
    assert told[0]["class_weights"] is None
    assert told[2]["class_weights"] == [0.25, 0.75, 2.0]


@torch.no_grad()
def test_logits_can_be_cosines(tiny_backbone, batch):
    network = ClassifierNetwork(tiny_backbone, 3, cosine=True, scale=30.0).eval()
    logits = network(batch.images)
    features = network.backbone(batch.images)
    expected = torch.cosine_similarity(features[:, None], network.classifier.weight, dim=-1)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(network.probabilities(logits), (30 * expected).softmax(dim=1))


@torch.no_grad()
def test_probabilities_can_be_adjusted_afterwards(tiny_backbone, batch):
    network = ClassifierNetwork(tiny_backbone, 3, post_hoc_adjustment=1.0).eval()
    network.log_priors.copy_(log_prior([98, 1, 1]))
    logits = network(batch.images)
    odds = logits.exp() / torch.tensor([0.98, 0.01, 0.01])
    torch.testing.assert_close(network.probabilities(logits), odds / odds.sum(1, keepdim=True))


STAGES = {"whole": [], "none": ["conv", "fc"], "fc": ["conv"], "conv": []}


@pytest.mark.parametrize(("trained", "frozen"), STAGES.items())
def test_what_is_frozen_keeps_weights_and_statistics(tiny_backbone, batch, trained, frozen):
    network = ClassifierNetwork(tiny_backbone, 3)
    network.freeze(trained)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1)
    method = Classification(network, F.cross_entropy)
    method.losses(network, batch, step=0).terms["classification"].backward()
    optimizer.step()
    after = network.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert {name for name in changed if name.split(".")[2:3]} == {
        name for name in after if name.startswith("backbone.") and name.split(".")[2] not in frozen
    }
    assert {"classifier.weight", "classifier.bias"} <= changed
    assert network.training


def test_an_unknown_layer_is_refused(tiny_backbone):
    with pytest.raises(ConfigError, match=r"--trained is layer9; .*conv, fc"):
        ClassifierNetwork(tiny_backbone, 3).freeze("layer9")


def test_a_network_without_parts_cannot_be_frozen():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
    backbone = Backbone([("net", net)], ["layer1", "pool"], feature_dim=5)  # as those of timm are
    with pytest.raises(ConfigError, match="--trained is pool; expected whole, or none"):
        ClassifierNetwork(backbone, 3).freeze("pool")
    network = ClassifierNetwork(backbone, 3)
    network.freeze("none")
    assert network.frozen == [net]


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_can_be_kept_while_weights_are_trained(tiny_backbone, batch, frozen):
    network = ClassifierNetwork(tiny_backbone, 3)
    network.freeze("whole", statistics=frozen)
    norm = tiny_backbone.stages["conv"][1]
    before = norm.running_mean.clone()
    network.train()(batch.images).sum().backward()
    assert torch.equal(norm.running_mean, before) == frozen
    assert norm.weight.grad is not None
    assert norm.training != frozen
