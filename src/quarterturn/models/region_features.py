"""Features of regions of an image, of any backbone: its map first, then the layers behind a pool.

Shapes: B images of H x W; R regions of all of them; D feature width. Boxes are (x1, y1, x2, y2) in
pixels, corners included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_pool

from quarterturn.errors import ConfigError
from quarterturn.models.backbone import Backbone
from quarterturn.models.timm_backbone import TimmBackbone

SIDE = 7
"""Of the grid that a region is pooled to, where the backbone does not say."""
LARGEST_STRIDE = 16
PROBED = 256
"""Side in pixels of the image by which the strides of layers are found."""


@dataclass(frozen=True)
class MapLayer:
    """A layer of a backbone that keeps where things are.

    Attributes:
        name: Of the layer.
        channels: Of its map.
        stride: Pixels of the image that a cell of the map is apart from the next.
    """

    name: str
    channels: int
    stride: int


class RegionFeatures(nn.Module):
    """What of a backbone comes before the regions are pooled, and what behind.

    AlexNet's regions are pooled from conv5 to the grid that fc6 was trained on, 6 x 6 at 224 px,
    and fc6 and fc7 follow; the pools before round up, as Caffe's do. A ResNet's are pooled from
    layer3 to 7 x 7, and layer4 and the average follow. Any other backbone gives the map of its
    deepest layer with a stride of up to 16, and two new linear layers of 1,024 follow.

    The backbone is not a part of this module: the network that has both registers it once.

    Args:
        backbone: The backbone.

    Attributes:
        head: New layers behind the pool; empty where the backbone has them.
        feature_dim: D.
        side: Of the grid that a region is pooled to.
        stride: Pixels that two cells of the map are apart.

    Raises:
        ConfigError: The backbone has no map of an image of any size.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self._backbone = (backbone,)  # a tuple, so that torch does not register it here too
        self.head = nn.Sequential()
        names, stages = list(backbone.stages), backbone.stages
        self.layer: str | None = None
        if "fc6" in names:
            pool = names.index("pool5")
            self.before, self.behind = names[:pool], names[pool + 1 :]
            linear = next(m for m in stages["fc6"].modules() if isinstance(m, nn.Linear))
            conv = [m for m in stages["conv5"].modules() if isinstance(m, nn.Conv2d)][-1]
            self.side = math.isqrt(linear.in_features // conv.out_channels)
            self.stride, self.feature_dim = 16, backbone.feature_dim
        elif "layer4" in names:
            last = names.index("layer4")
            self.before, self.behind, self.side = names[:last], names[last:], SIDE
            self.stride = map_layers(backbone)[-2].stride
            self.feature_dim = backbone.feature_dim
        else:
            found = [layer for layer in map_layers(backbone) if layer.stride <= LARGEST_STRIDE]
            self.before, self.behind, self.side = [], [], SIDE
            self.layer, self.stride, self.feature_dim = found[-1].name, found[-1].stride, 1024
            self.head = nn.Sequential(
                nn.Flatten(),
                nn.Linear(found[-1].channels * SIDE**2, self.feature_dim),
                nn.ReLU(inplace=True),
                nn.Linear(self.feature_dim, self.feature_dim),
                nn.ReLU(inplace=True),
            )

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, channels, height, width)."""
        (backbone,) = self._backbone
        if self.layer is not None:
            return backbone.features(images, [self.layer])[self.layer]
        for name in self.before:
            stage = backbone.stages[name]
            if isinstance(stage, nn.MaxPool2d) and "fc6" in self.behind:
                images = F.max_pool2d(images, stage.kernel_size, stage.stride, ceil_mode=True)
            else:
                images = stage(images)
        return images

    def forward(self, maps: Tensor, regions: Sequence[Tensor]) -> Tensor:
        """Maps of B images, and (n, 4) regions of each, to (R, D)."""
        (backbone,) = self._backbone
        # Torchvision's pool rounds as Caffe's does: to whole cells, the last one included.
        pooled = roi_pool(
            maps, [boxes.to(maps.dtype) for boxes in regions], self.side, 1 / self.stride
        )
        if self.layer is not None:
            return self.head(pooled)
        for name in self.behind:
            pooled = backbone.stages[name](pooled)
        return pooled


def map_layers(backbone: Backbone) -> list[MapLayer]:
    """The layers of a backbone that are maps, the deepest of each stride, by one image of zeros.

    Raises:
        ConfigError: It has none, or takes no images of any other size than its own.
    """
    parameter = next(backbone.parameters())
    was_training = backbone.training
    images = torch.zeros(1, 3, PROBED, PROBED, dtype=parameter.dtype, device=parameter.device)
    try:
        with torch.no_grad():
            shapes = _map_shapes(backbone.eval(), images)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            "detect needs a backbone that takes images of any size, such as alexnet, resnet18, "
            f"resnet50 or a convolutional network of timm; this one does not: {error}"
        ) from error
    finally:
        backbone.train(was_training)
    by_stride = {}
    for name, (_, channels, side, _) in shapes.items():
        if side > 1:
            stride = 2 ** round(math.log2(PROBED / side))
            by_stride[stride] = MapLayer(name, channels, stride)
    if not any(stride <= LARGEST_STRIDE for stride in by_stride):
        raise ConfigError(
            "detect needs a backbone with a map whose cells are up to 16 pixels apart; this one "
            "has none: give alexnet, resnet18, resnet50 or a convolutional network of timm"
        )
    return [by_stride[stride] for stride in sorted(by_stride)]


def _map_shapes(backbone: Backbone, images: Tensor) -> dict[str, torch.Size]:
    """The layers that are maps, with the shapes of those of some images."""
    if isinstance(backbone, TimmBackbone):
        found = backbone.features(images, backbone.inner)
        return {name: values.shape for name, values in found.items() if values.ndim == 4}
    shapes: dict[str, torch.Size] = {}
    for name, stage in backbone.stages.items():
        try:
            images = stage(images)
        except RuntimeError:
            break  # a linear layer, which takes maps of its own size only
        if images.ndim != 4:
            break
        if name in backbone.layers:
            shapes[name] = images.shape
    return shapes
