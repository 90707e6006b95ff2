"""torchvision's ResNets as chains of named stages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from quarterturn.config import SMALL_IMAGE
from quarterturn.models.backbone import Backbone

if TYPE_CHECKING:
    from torchvision.models import ResNet


def resnet18(image_size: int = 224) -> Backbone:
    """Torchvision's ResNet-18 (He et al., CVPR 2016). Features: 512, halves 256 + 256.

    Below 96 px the stem is a 3x3 convolution with stride 1 and no pool, as usual on CIFAR.

    Args:
        image_size: Side of the input in pixels; selects the stem.
    """
    from torchvision.models import resnet18  # takes as long to load as torch: only where needed

    return _staged(resnet18(weights=None), image_size)


def resnet50(image_size: int = 224) -> Backbone:
    """Torchvision's ResNet-50 (He et al., CVPR 2016). Features: 2048, halves 1024 + 1024.

    The stem is as in `resnet18`. Blocks have their stride in the 3x3 convolution ("v1.5").

    Args:
        image_size: Side of the input in pixels; selects the stem.
    """
    from torchvision.models import resnet50  # see above

    return _staged(resnet50(weights=None), image_size)


def _staged(net: ResNet, image_size: int) -> Backbone:
    if image_size < SMALL_IMAGE:
        stem_conv = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(stem_conv.weight, mode="fan_out", nonlinearity="relu")
        pool: nn.Module = nn.Identity()
    else:
        stem_conv, pool = net.conv1, net.maxpool
    stages = [
        ("stem", nn.Sequential(stem_conv, net.bn1, net.relu)),
        ("pool1", pool),
        ("layer1", net.layer1),
        ("layer2", net.layer2),
        ("layer3", net.layer3),
        ("layer4", net.layer4),
        ("pool", nn.Sequential(net.avgpool, nn.Flatten())),
    ]
    layers = ["stem", "layer1", "layer2", "layer3", "layer4", "pool"]
    return Backbone(stages, layers, feature_dim=net.fc.in_features)
