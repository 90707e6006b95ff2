import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quarterturn.models.cifar_resnet import ResidualBlock, cifar_resnet, shortcut


@pytest.mark.parametrize(("depth", "total"), [(20, 269_722), (32, 464_154)])
def test_parameters_are_the_papers(depth, total):
    """He et al. (2016), table 6: 0.27 and 0.46 million, with a classifier of ten classes."""
    blocks = (depth - 2) // 6
    convolutions = [(3, 16)]
    for inputs, outputs in [(16, 16), (16, 32), (32, 64)]:
        convolutions += [(inputs, outputs), *[(outputs, outputs)] * (2 * blocks - 1)]
    assert len(convolutions) == depth - 1  # and the classifier
    expected = sum(9 * i * o + 2 * o for i, o in convolutions)
    assert expected + 64 * 10 + 10 == total
    net = cifar_resnet(32, depth)
    assert sum(p.numel() for p in net.parameters()) == expected
    found = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in found] == convolutions
    assert all(m.kernel_size == (3, 3) and m.bias is None for m in found)


@torch.no_grad()
@pytest.mark.parametrize(("side", "sides"), [(32, (32, 16, 8)), (17, (17, 9, 5))])
def test_shapes(side, sides):
    net = cifar_resnet(side, 20).eval()
    found = net.features(torch.randn(2, 3, side, side), net.layers)
    assert {name: tuple(values.shape[1:]) for name, values in found.items()} == {
        "stem": (16, side, side),
        "layer1": (16, sides[0], sides[0]),
        "layer2": (32, sides[1], sides[1]),
        "layer3": (64, sides[2], sides[2]),
        "pool": (64,),
    }
    assert net.feature_dim == 64
    torch.testing.assert_close(found["pool"], found["layer3"].mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("inputs", "outputs", "stride", "side"),
    [(2, 4, 2, 6), (2, 4, 2, 5), (3, 8, 2, 4), (4, 4, 1, 3), (2, 6, 1, 3)],
)
def test_option_a_is_a_loop_over_pixels(inputs, outputs, stride, side):
    x = np.random.default_rng(0).normal(size=(2, inputs, side, side))
    small = math.ceil(side / stride)
    expected = np.zeros((2, outputs, small, small))
    first = (outputs - inputs) // 2
    for b, c, row, column in np.ndindex(2, inputs, small, small):
        expected[b, first + c, row, column] = x[b, c, row * stride, column * stride]
    found = shortcut(torch.from_numpy(x), outputs, stride)
    assert np.array_equal(found.numpy(), expected)


@torch.no_grad()
@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 8, 2)])
def test_a_block_adds_two_convolutions_to_its_input(inputs, outputs, stride):
    block = ResidualBlock(inputs, outputs, stride).train()
    x = torch.randn(3, inputs, 6, 6)
    kept = x.clone()
    out = F.conv2d(x, block.conv1.weight, stride=stride, padding=1)
    out = F.conv2d(_normalised(out).clamp(min=0), block.conv2.weight, padding=1)
    expected = (_normalised(out) + shortcut(x, outputs, stride)).clamp(min=0)
    torch.testing.assert_close(block(x), expected)
    assert torch.equal(x, kept)


def _normalised(x):
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    return (x - mean) / (x.var(dim=(0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()


@pytest.mark.parametrize("depth", [2, 7, 18, 31, -4])
def test_a_depth_of_another_form_is_refused(depth):
    with pytest.raises(ValueError, match=f"6n \\+ 2.*found {depth}"):
        cifar_resnet(32, depth)


def test_weights_start_by_kaimings_rule_over_the_inputs():
    for conv in [m for m in cifar_resnet(32, 20).modules() if isinstance(m, nn.Conv2d)]:
        std = math.sqrt(2 / (9 * conv.in_channels))
        spread = 4 / math.sqrt(2 * conv.weight.numel())  # four standard errors
        assert conv.weight.std().item() == pytest.approx(std, rel=spread)
