import math

import pytest
import torch
from torch import nn

from quarterturn.config import DataConfig, ModelConfig
from quarterturn.data.batches import Batch
from quarterturn.losses.focal import FocalLoss
from quarterturn.losses.ldam import LDAMLoss
from quarterturn.losses.logit_adjustment import LogitAdjustedLoss
from quarterturn.losses.weights import effective_number_weights
from quarterturn.methods.build import build_method, build_network
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.configuration import Config
from quarterturn.methods.registry import METHODS
from quarterturn.models.heads import CosineHead
from quarterturn.models.registry import BACKBONES

TIMM = ["timm:resnet10t", "timm:vit_tiny_patch16_224"]


@pytest.mark.parametrize("method", ["rotnet", "decoupling"])
@pytest.mark.parametrize("backbone", [*BACKBONES, *TIMM])
def test_every_backbone_takes_a_step(backbone, method):
    if backbone.startswith("timm:"):
        pytest.importorskip("timm")
    side = 63 if backbone.startswith("alexnet") else 16
    config = Config(
        data=DataConfig(image_size=side),
        model=ModelConfig(backbone=backbone),
        method=METHODS[method](),
    )
    if config.method.has_instance_loss:
        config = config.with_settings(embedding_dim=8, num_noise=4)
    learner = build_method(config, num_instances=6)
    batch = Batch(torch.tensor([4, 1]), torch.randn(2, 3, side, side), None)
    network = learner.network.train()
    output = learner.losses(network, batch, step=0)
    total = sum(learner.term_weights[name] * term for name, term in output.terms.items())
    assert math.isfinite(total.item())
    total.backward()
    # Every parameter learns: one without a gradient would stop DistributedDataParallel.
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in network.parameters())
    assert any(p.grad.any() for p in network.backbone.parameters())


def test_heads_that_are_not_kept_leave_no_weights():
    config = Config(data=DataConfig(image_size=16), model=ModelConfig(backbone="convnet"))
    network = build_network(config)
    assert network.heads == ("rotation_head", "embedding_head")
    network.keep_heads(["rotation_head"])
    assert network.heads == ("rotation_head",)
    assert not any(name.startswith("embedding_head") for name in network.state_dict())
    assert list(network.parts(torch.zeros(1, 256))) == ["rotation", "invariant", "both"]
    imported = build_network(config.with_settings(method="imported"))
    assert imported.heads == ()
    assert list(imported.parts(torch.zeros(1, 256))) == ["whole"]


COUNTS = torch.tensor([50, 5])
LOSSES = {
    "cross-entropy": nn.functional.cross_entropy,
    "ldam": LDAMLoss([50, 5], 0.4, 20.0),
    "focal": FocalLoss(2.0),
    "balanced-softmax": LogitAdjustedLoss([50, 5]),
    "logit-adjusted": LogitAdjustedLoss([50, 5], 0.5),
}


def classification(**settings):
    config = Config(
        data=DataConfig(image_size=16),
        model=ModelConfig(backbone="convnet"),
        method=ClassifierOptions(),
    ).with_settings(max_margin=0.4, scale=20.0, focal_gamma=2.0, adjustment=0.5, **settings)
    return build_method(config, int(COUNTS.sum()), class_counts=COUNTS)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_a_classifier(name):
    method = classification(loss=name)
    logits, targets, weight = torch.randn(6, 2), torch.arange(6) % 2, torch.tensor([0.5, 1.5])
    assert torch.equal(method.loss(logits, targets, weight), LOSSES[name](logits, targets, weight))
    assert isinstance(method.network.classifier, CosineHead) == (name == "ldam")
    assert method.network.scale == (20.0 if name == "ldam" else 1.0)
    assert method.network.log_priors.tolist() == pytest.approx(
        [math.log(50 / 55), math.log(5 / 55)]
    )


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"reweight": "none"}, None),
        ({"reweight": "always"}, 0.0),
        ({"reweight": "drw"}, 0.8),
        ({"reweight": "drw", "reweight_from": 0.25}, 0.25),
        ({"reweight": "drw", "reweight_from_epoch": 7, "epochs": 20}, 7 / 20),
    ],
)
def test_rules_over_time(settings, start):
    method = classification(beta=0.99, **settings)
    if start is None:
        assert method.class_weights is None
    else:
        assert torch.equal(method.class_weights, effective_number_weights(COUNTS, 0.99))
        assert method.reweight_from == start
