import math

import numpy as np
import pytest
import torch
from torch import nn

from quarterturn.errors import ConfigError
from quarterturn.models.region_features import RegionFeatures, map_layers
from quarterturn.models.registry import build_backbone


def caffe_round(value: float) -> int:
    """C's ``round``: halves away from zero."""
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def caffe_roi_pool(maps: np.ndarray, box: np.ndarray, side: int, stride: int) -> np.ndarray:
    """Max over each cell of a region of one image, (channels, height, width), cell by cell."""
    channels, height, width = maps.shape
    left, top, right, bottom = (caffe_round(v / stride) for v in box)
    high, wide = max(bottom - top + 1, 1), max(right - left + 1, 1)
    pooled = np.zeros((channels, side, side), maps.dtype)
    for i in range(side):
        for j in range(side):
            rows = [math.floor(i * high / side) + top, math.ceil((i + 1) * high / side) + top]
            columns = [math.floor(j * wide / side) + left, math.ceil((j + 1) * wide / side) + left]
            rows, columns = np.clip(rows, 0, height), np.clip(columns, 0, width)
            cell = maps[:, rows[0] : rows[1], columns[0] : columns[1]]
            if cell.size:
                pooled[:, i, j] = cell.max(axis=(1, 2))
    return pooled


class Recorded(nn.Module):
    """Keeps what it is given."""

    def forward(self, values):
        self.values = values
        return values.flatten(1)


@pytest.fixture(scope="module")
def alexnet():
    return build_backbone("alexnet-folded", 224, seed=3).eval()


@pytest.mark.parametrize(("name", "side"), [("resnet18", 7), ("alexnet-folded", 6)])
def test_regions_are_pooled_as_caffe_does(name, side, rng, alexnet):
    backbone = build_backbone(name, 224).eval() if name == "resnet18" else alexnet
    features, channels = RegionFeatures(backbone), 256
    assert (features.side, features.stride) == (side, 16)
    backbone.stages["record"] = record = Recorded()
    features.behind = ["record"]
    maps = torch.from_numpy(rng.normal(size=(2, channels, 19, 25)).astype(np.float32))
    corners = rng.uniform(0, [300, 220], (30, 2))
    boxes = np.hstack([corners, corners + rng.uniform(0, 120, (30, 2))]).astype(np.float32)
    boxes[0] = [8, 8, 8, 24]  # halves of a cell, and a region of no width
    boxes[1] = [390, 290, 399, 303]  # in the last cell and beyond
    regions = [torch.from_numpy(boxes[:11]), torch.from_numpy(boxes[11:])]
    features(maps, regions)
    del backbone.stages["record"]
    found = record.values.numpy()
    for number, box in enumerate(boxes):
        expected = caffe_roi_pool(maps[int(number >= 11)].numpy(), box, side, 16)
        np.testing.assert_array_equal(found[number], expected, err_msg=str(box))


def test_alexnet_pools_round_up(alexnet):
    features = RegionFeatures(alexnet)
    images = torch.randn(1, 3, 250, 235)
    with torch.no_grad():
        found = features.maps(images)
        # 250 px: conv1 gives 61, pools rounding up 30 and 15, rounding down 30 and 14.
        assert found.shape == (1, 256, 15, 14)
        assert features(found, [torch.tensor([[0.0, 0, 100, 100]])]).shape == (1, 4096)


def test_at_its_own_size_the_map_is_conv5(alexnet):
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        maps = RegionFeatures(alexnet).maps(images)
        expected = alexnet.features(images, ["conv5"])["conv5"]
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize("name", ["convnet", "timm:resnet10t"])
def test_other_backbones_get_two_new_layers(name):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    backbone = build_backbone(name, 64).eval()
    features = RegionFeatures(backbone)
    assert features.stride <= 16
    assert [type(m) for m in features.head if isinstance(m, nn.Linear)] == [nn.Linear] * 2
    with torch.no_grad():
        found = features(features.maps(torch.randn(1, 3, 70, 90)), [torch.rand(5, 4) * 60])
    assert found.shape == (5, features.feature_dim)
    assert not any(key.startswith("_backbone") for key in features.state_dict())


def test_map_layers_are_the_deepest_of_their_stride():
    layers = map_layers(build_backbone("resnet18", 224))
    assert [(layer.name, layer.channels, layer.stride) for layer in layers] == [
        ("stem", 64, 2),
        ("layer1", 64, 4),
        ("layer2", 128, 8),
        ("layer3", 256, 16),
        ("layer4", 512, 32),
    ]


def test_a_backbone_of_one_size_is_refused():
    pytest.importorskip("timm")
    backbone = build_backbone("timm:vit_tiny_patch16_224", 64)
    with pytest.raises(ConfigError, match="a backbone that takes images of any size"):
        RegionFeatures(backbone)
