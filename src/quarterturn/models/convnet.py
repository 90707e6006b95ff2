"""The demo's small convnet, fast on a CPU."""

from __future__ import annotations

from torch import nn

from quarterturn.models.backbone import Backbone


def convnet(image_size: int = 16, feature_dim: int = 256) -> Backbone:
    """3x3 convolutions of 32, 64, 128, 256, 256 ... channels with pools, then a linear layer.

    Batch norm and ReLU follow each convolution, and a 2x2 max pool with stride 2 while the side is
    above 4 px. Above 32 px the first convolution is 5x5 with stride 2. That makes three
    convolutions at 16 px, and four at 64 px.

    Args:
        image_size: Side of the input in pixels, at least 8.
        feature_dim: D, width of the features.
    """
    stages: list[tuple[str, nn.Module]] = []
    channels, side, last = 3, image_size, False
    while not last:
        number = len(stages) + 1
        wider = min(16 * 2**number, 256)
        if number == 1 and image_size > 32:
            conv = nn.Conv2d(channels, wider, 5, stride=2, padding=2, bias=False)
            side = (side + 1) // 2
        else:
            conv = nn.Conv2d(channels, wider, 3, padding=1, bias=False)
        block = [conv, nn.BatchNorm2d(wider), nn.ReLU(inplace=True)]
        last = side <= 4
        if not last:
            block.append(nn.MaxPool2d(2))
            side //= 2
        stages.append((f"conv{number}", nn.Sequential(*block)))
        channels = wider
    fc = nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * side * side, feature_dim, bias=False),
        nn.BatchNorm1d(feature_dim),
        nn.ReLU(inplace=True),
    )
    stages.append(("fc", fc))
    return Backbone(stages, [name for name, _ in stages], feature_dim)
