import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quarterturn.models.alexnet import alexnet
from quarterturn.models.nin import nin
from quarterturn.models.probe_heads import MaxPoolTo, build_head

CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")


@pytest.fixture(scope="module")
def alexnet_shapes() -> dict[str, tuple[int, ...]]:
    """Of the maps at 224 px, on no device: nothing is computed."""
    with torch.device("meta"):
        found = alexnet().eval().features(torch.empty(1, 3, 224, 224), CONVS)
    return {name: tuple(maps.shape[1:]) for name, maps in found.items()}


def num_parameters(head: nn.Module) -> int:
    return sum(p.numel() for p in head.parameters())


def pooled_by_a_loop(maps: np.ndarray, side: int) -> np.ndarray:
    """Maxima over a grid of rectangles that cover each map: (B, C, H, W) to (B, C, side, side)."""
    height, width = maps.shape[2:]
    found = np.zeros((*maps.shape[:2], side, side), maps.dtype)
    for i in range(side):
        for j in range(side):
            top, bottom = i * height // side, math.ceil((i + 1) * height / side)
            left, right = j * width // side, math.ceil((j + 1) * width / side)
            found[:, :, i, j] = maps[:, :, top:bottom, left:right].max(axis=(2, 3))
    return found


class TestMaxPoolTo:
    def test_the_literatures_sizes(self, alexnet_shapes):
        pool = MaxPoolTo(9000)
        shapes = [pool.shape_of(shape) for shape in alexnet_shapes.values()]
        assert list(alexnet_shapes) == list(CONVS)
        assert [shape[1:] for shape in shapes] == [(12, 12), (7, 7), (5, 5), (6, 6), (6, 6)]
        assert [math.prod(shape) for shape in shapes] == [9216, 9408, 9600, 9216, 9216]

    @pytest.mark.parametrize(("channels", "height", "width"), [(4, 9, 9), (3, 7, 11), (20, 5, 5)])
    def test_is_a_loop_over_maxima_and_torchs_own(self, rng, channels, height, width):
        pool = MaxPoolTo(50)
        side = round(math.sqrt(50 / channels))
        maps = rng.normal(size=(2, channels, height, width))
        found = pool(torch.from_numpy(maps))
        np.testing.assert_array_equal(found.numpy(), pooled_by_a_loop(maps, side))
        assert torch.equal(found, F.adaptive_max_pool2d(torch.from_numpy(maps), side))
        assert pool.shape_of(maps.shape[1:]) == tuple(found.shape[1:])

    def test_what_is_small_enough_passes(self):
        pool = MaxPoolTo(50)
        for values in (torch.randn(2, 7), torch.randn(2, 4, 4, 3), torch.randn(2, 60, 1, 1)):
            assert pool(values) is values
        assert pool.shape_of((60, 5, 5)) == (60, 1, 1)  # more channels than features
        assert pool.shape_of((2, 3, 9)) == (2, 3, 5)  # at most the map's own side

    def test_of_what_is_pooled_changes_nothing(self):
        pool = MaxPoolTo(50)
        once = pool(torch.randn(2, 3, 11, 7))
        assert pool(once) is once

    def test_says_what_it_is(self):
        assert repr(MaxPoolTo(50)) == "MaxPoolTo(50)"  # kept features are known by it


class TestParameters:
    @pytest.mark.parametrize("num_classes", [1000, 205])
    def test_of_linear_heads(self, alexnet_shapes, num_classes):
        widths = {"conv1": 9216, "conv2": 9408, "conv3": 9600, "conv4": 9216, "conv5": 9216}
        with torch.device("meta"):
            for name, width in widths.items():
                head = build_head("linear", alexnet_shapes[name], num_classes)
                assert num_parameters(head) == width * num_classes + num_classes

    def test_of_nonlinear_heads(self, alexnet_shapes):
        with torch.device("meta"):
            conv4, conv5 = (
                build_head("nonlinear", alexnet_shapes[name], 1000, extra_conv=name == "conv4")
                for name in ("conv4", "conv5")
            )
        rest = 256 * 6 * 6 * 4096 + 2 * 4096 + 4096 * 4096 + 2 * 4096 + 4096 * 1000 + 1000
        assert num_parameters(conv5) == rest == 58_639_336
        assert num_parameters(conv4) == 256 * 256 * 9 + 256 + 2 * 256 + rest

    def test_of_rotnets_heads(self):
        with torch.device("meta"):
            maps = nin().eval().features(torch.empty(1, 3, 32, 32), ["block2"])["block2"]
            shape = tuple(maps.shape[1:])
            multilayer, convolutional = (
                build_head(kind, shape, 10) for kind in ("multilayer", "convolutional")
            )
        assert shape == (192, 8, 8)
        assert num_parameters(multilayer) == (
            12_288 * 200 + 2 * 200 + 200 * 200 + 2 * 200 + 200 * 10 + 10
        )
        assert num_parameters(convolutional) == (
            192 * 192 * 9 + 2 * 192 + 2 * (192 * 192 + 2 * 192) + 192 * 10 + 10
        )

    @pytest.mark.parametrize(("num_classes", "width"), [(3, 60), (10, 200), (1000, 2048)])
    def test_hidden_units_of_a_multilayer_head(self, num_classes, width):
        with torch.device("meta"):
            head = build_head("multilayer", (7,), num_classes)
        assert [m.out_features for m in head if isinstance(m, nn.Linear)] == [
            width,
            width,
            num_classes,
        ]


def layers_of(head: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in head]


class TestStructure:
    HIDDEN = ("Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear")

    def test_is_the_published_one(self):
        maps = (6, 13, 13)
        with torch.device("meta"):
            assert layers_of(build_head("linear", maps, 5)) == [
                "MaxPoolTo",
                "BatchNorm2d",
                "Flatten",
                "Linear",
            ]
            nonlinear = build_head("nonlinear", maps, 5)
            assert layers_of(nonlinear) == ["MaxPool2d", "Flatten", *self.HIDDEN]
            extra = build_head("nonlinear", maps, 5, extra_conv=True)
            assert layers_of(extra) == ["Conv2d", "BatchNorm2d", "ReLU", *layers_of(nonlinear)]
            assert layers_of(build_head("multilayer", maps, 5)) == ["Flatten", *self.HIDDEN]
            convolutional = build_head("convolutional", maps, 5)
        assert layers_of(convolutional) == [
            *("Conv2d", "BatchNorm2d", "ReLU") * 3,
            "AdaptiveAvgPool2d",
            "Flatten",
            "Linear",
        ]
        convs = [m for m in convolutional if isinstance(m, nn.Conv2d)]
        assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convs] == [
            (6, 192, 3),
            (192, 192, 1),
            (192, 192, 1),
        ]
        assert [c.bias for c in convs] == [None] * 3

    def test_hidden_layers_have_no_biases(self):
        with torch.device("meta"):
            for kind in ("nonlinear", "multilayer"):
                head = build_head(kind, (6, 5, 5), 5)
                biases = [m.bias is not None for m in head if isinstance(m, nn.Linear)]
                assert biases == [False, False, True]

    def test_a_linear_head_normalises_channels_and_learns_no_scale(self, rng):
        head = build_head("linear", (4, 9, 9), 3, num_features=100).train()
        assert list(head[1].parameters()) == []
        maps = rng.normal(2, 3, size=(6, 4, 9, 9)).astype(np.float32)
        pooled = pooled_by_a_loop(maps, 5)
        mean, variance = pooled.mean(axis=(0, 2, 3)), pooled.var(axis=(0, 2, 3))
        normalised = (pooled - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None]
        weight, bias = (p.detach().numpy() for p in head[3].parameters())
        expected = normalised.reshape(6, -1) @ weight.T + bias
        found = head(torch.from_numpy(maps)).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize("kind", ["linear", "multilayer"])
    def test_vectors_have_heads_too(self, kind):
        assert build_head(kind, (7,), 3)(torch.randn(5, 7)).shape == (5, 3)

    @pytest.mark.parametrize("side", [1, 2, 3, 4, 6])
    def test_a_nonlinear_head_takes_maps_of_any_size(self, side, monkeypatch):
        monkeypatch.setattr("quarterturn.models.probe_heads.HIDDEN_WIDTH", 8)
        head = build_head("nonlinear", (2, side, side + 1), 3, extra_conv=True)
        assert head(torch.randn(4, 2, side, side + 1)).shape == (4, 3)


class TestWeights:
    @pytest.mark.parametrize(
        ("kind", "shape"),
        [("linear", (64, 12, 12)), ("multilayer", (192, 4, 4)), ("convolutional", (64, 4, 4))],
    )
    def test_are_drawn_as_published(self, kind, shape):
        head = build_head(kind, shape, 10)
        for layer in head:
            if not isinstance(layer, nn.Linear | nn.Conv2d):
                continue
            weight = layer.weight.detach().double()
            area = 9 if weight.ndim == 4 and weight.shape[2] == 3 else 1
            expected = math.sqrt(2 / (weight.shape[0] * area))
            n = weight.numel()
            assert abs(weight.mean()) < 4 * expected / math.sqrt(n)
            assert abs(weight.std() / expected - 1) < 4 / math.sqrt(2 * n)
            assert layer.bias is None or not layer.bias.any()

    def test_of_an_extra_convolution(self, monkeypatch):
        monkeypatch.setattr("quarterturn.models.probe_heads.HIDDEN_WIDTH", 8)
        conv = build_head("nonlinear", (64, 5, 5), 3, extra_conv=True)[0]
        n = conv.weight.numel()
        assert abs(conv.weight.std() / math.sqrt(2 / (64 * 9)) - 1) < 4 / math.sqrt(2 * n)


class TestErrors:
    @pytest.mark.parametrize("kind", ["nonlinear", "convolutional"])
    def test_a_vector_where_maps_are_needed(self, kind):
        told = f"a {kind} head needs maps, and this layer is a vector of 12"
        with pytest.raises(ValueError, match=told):
            build_head(kind, (12,), 3)

    def test_an_unknown_kind(self):
        with pytest.raises(ValueError, match="unknown kind of head 'quadratic'"):
            build_head("quadratic", (12,), 3)
