import math

import pytest
import torch

from quarterturn.config import Config, DataConfig, MethodConfig, ModelConfig
from quarterturn.data.batches import Batch
from quarterturn.methods.registry import build_method, build_network
from quarterturn.models.registry import BACKBONES

TIMM = ["timm:resnet10t", "timm:vit_tiny_patch16_224"]


@pytest.mark.parametrize("method", ["rotnet", "decoupling"])
@pytest.mark.parametrize("backbone", [*BACKBONES, *TIMM])
def test_every_backbone_takes_a_step(backbone, method):
    if backbone.startswith("timm:"):
        pytest.importorskip("timm")
    side = {"alexnet": 63}.get(backbone, 16)
    config = Config(
        data=DataConfig(image_size=side),
        model=ModelConfig(backbone=backbone, embedding_dim=8),
        method=MethodConfig(method=method, num_noise=4),
    )
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
