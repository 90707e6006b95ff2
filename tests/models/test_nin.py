import math

import pytest
import torch
from torch import nn

from quarterturn.models.nin import nin


@torch.no_grad()
def test_shapes_at_32_pixels_are_rotnets():
    net = nin(32).eval()
    found = net.features(torch.randn(2, 3, 32, 32), net.layers)
    assert {name: tuple(values.shape[1:]) for name, values in found.items()} == {
        "block1": (96, 16, 16),
        "block2": (192, 8, 8),
        "block3": (192, 8, 8),
        "block4": (192, 8, 8),
        "pool": (192,),
    }
    assert net.feature_dim == 192
    torch.testing.assert_close(found["pool"], found["block4"].mean(dim=(2, 3)))


@pytest.mark.parametrize(("num_blocks", "total"), [(3, 1_003_712), (4, 1_410_368), (5, 1_817_024)])
def test_parameters_are_those_of_the_formula(num_blocks, total):
    convolutions = [(3, 192, 5), (192, 160, 1), (160, 96, 1)]
    convolutions += [(96, 192, 5), (192, 192, 1), (192, 192, 1)]
    convolutions += [(192, 192, 3), (192, 192, 1), (192, 192, 1)] * (num_blocks - 2)
    expected = sum(i * o * k * k + 2 * o for i, o, k in convolutions)  # a norm has 2 a channel
    assert expected == total
    net = nin(32, num_blocks)
    assert sum(p.numel() for p in net.parameters()) == expected
    found = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in found] == convolutions


@torch.no_grad()
@pytest.mark.parametrize("num_blocks", [1, 2, 3, 5])
@pytest.mark.parametrize("side", [9, 32])
def test_any_number_of_blocks_and_any_side(num_blocks, side):
    net = nin(side, num_blocks).eval()
    assert net.layers == (*(f"block{i + 1}" for i in range(num_blocks)), "pool")
    assert net(torch.randn(2, 3, side, side)).shape == (2, net.feature_dim)


def test_there_is_no_network_without_blocks():
    with pytest.raises(ValueError, match="at least one block, found 0"):
        nin(32, 0)


@torch.no_grad()
def test_a_block_is_three_convolutions_then_the_pool():
    block = nin(32, 2).train().stages["block1"]
    images = torch.randn(4, 3, 6, 6)
    x = images
    for conv in [m for m in block if isinstance(m, nn.Conv2d)]:
        x = nn.functional.conv2d(x, conv.weight, padding=conv.weight.shape[-1] // 2)
        mean = x.mean(dim=(0, 2, 3), keepdim=True)
        variance = x.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
        x = ((x - mean) / (variance + 1e-5).sqrt()).clamp(min=0)
    padded = nn.functional.pad(x, (1, 1, 1, 1))  # zeros do no harm: nothing is negative
    pooled = torch.stack(
        [
            torch.stack([padded[:, :, r : r + 3, c : c + 3].amax(dim=(2, 3)) for c in (0, 2, 4)], 2)
            for r in (0, 2, 4)
        ],
        dim=2,
    )
    torch.testing.assert_close(block(images), pooled)


def test_the_second_pool_averages_the_padding_in():
    pool = nin().stages["block2"][-1]
    assert torch.equal(
        (9 * pool(torch.ones(1, 1, 6, 6))).round(),
        torch.tensor([[[[4.0, 6.0, 6.0], [6.0, 9.0, 9.0], [6.0, 9.0, 9.0]]]]),
    )


def test_weights_start_as_in_rotnet():
    for conv in [m for m in nin().modules() if isinstance(m, nn.Conv2d)]:
        std = math.sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels))
        assert conv.weight.std().item() == pytest.approx(std, rel=0.04)
        assert abs(conv.weight.mean().item()) < 4 * std / math.sqrt(conv.weight.numel())
        assert conv.bias is None
    for norm in [m for m in nin().modules() if isinstance(m, nn.BatchNorm2d)]:
        assert (norm.weight == 1).all()
        assert (norm.bias == 0).all()
