from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from quarterturn.errors import ConfigError
from quarterturn.models.alexnet import alexnet
from quarterturn.weights.caffe_folding import balance, fold, learning_rates
from tests.fixtures.runs import randomize_batch_norms


def outputs(network: nn.Sequential, images: Tensor) -> dict[str, Tensor]:
    found, x = {}, images
    for name, layer in network.named_children():
        x = found[name] = layer(x)
    return found


@pytest.fixture
def folded() -> nn.Sequential:
    """Three layers with biases, of unequal scales."""
    network = nn.Sequential()
    network.add_module("conv1", nn.Conv2d(3, 6, 3))
    network.add_module("relu1", nn.ReLU())
    network.add_module("pool1", nn.MaxPool2d(2))
    network.add_module("flatten", nn.Flatten())
    network.add_module("fc6", nn.Linear(54, 8))
    network.add_module("relu6", nn.ReLU())
    network.add_module("fc7", nn.Linear(8, 5))
    network.add_module("relu7", nn.ReLU())
    with torch.no_grad():
        network.get_submodule("conv1").weight.mul_(30)
        network.get_submodule("fc7").weight.mul_(0.02)
        network.get_submodule("fc7").bias.abs_()
    return network.requires_grad_(False)


@torch.no_grad()
def test_batch_norm_is_folded_in() -> None:
    backbone = alexnet(63)
    randomize_batch_norms(backbone)
    backbone.eval()
    folded = fold(backbone)
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in folded.modules())
    images = torch.randn(2, 3, 63, 63)
    found, expected = outputs(folded, images), backbone.features(images, backbone.layers)
    for layer, values in expected.items():
        name = layer if layer.startswith("pool") else f"relu{layer[-1]}"
        torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_balanced_layers_learn_at_one_rate(folded: nn.Sequential) -> None:
    images = torch.randn(16, 3, 8, 8)
    before, rates = outputs(folded, images), learning_rates(folded, images)
    assert max(rates.values()) / min(rates.values()) > 30
    factors = balance(folded, images)
    after = outputs(folded, images)
    for name, factor in factors.items():
        assert factor > 0
        torch.testing.assert_close(after[name], factor * before[name], rtol=1e-4, atol=1e-5)
    assert factors["fc7"] == pytest.approx(1)
    assert abs(math.log(factors["conv1"])) > 0.5
    now = learning_rates(folded, images)
    mean = math.prod(rates.values()) ** (1 / 3)
    assert [now[name] for name in rates] == pytest.approx([mean] * 3, rel=1e-3)


def test_learning_rates_are_gradients_over_weights(folded: nn.Sequential) -> None:
    images = torch.randn(4, 3, 8, 8)
    rates = learning_rates(folded, images, seed=3)
    folded.requires_grad_()
    noise = torch.randn(4, 5, generator=torch.Generator().manual_seed(3))
    (folded(images) * noise).sum().backward()
    for name, rate in rates.items():
        weight = folded.get_submodule(name).weight
        assert rate == pytest.approx((weight.grad.norm() / weight.norm()).item(), rel=1e-4)


def test_a_dead_layer_has_no_scale(folded: nn.Sequential) -> None:
    folded.get_submodule("fc6").bias.fill_(-1e6)
    with pytest.raises(
        ConfigError, match=r"--rescale: .*fc6.* output only zeros on the sample of 4"
    ):
        balance(folded, torch.randn(4, 3, 8, 8))
