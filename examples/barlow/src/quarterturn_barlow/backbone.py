"""A backbone of the package's own."""

from __future__ import annotations

from torch import nn

from quarterturn.models.backbone import Backbone


def barlow_tiny(image_size: int) -> Backbone:
    """Three convolutions with stride 2 and a mean over their map: 64 values.

    Args:
        image_size: Side of the input in pixels, at least 8.
    """
    if image_size < 8:
        raise ValueError(f"barlow-tiny takes images of 8 px or more, not {image_size}")
    stages: list[tuple[str, nn.Module]] = []
    for number, (channels, wider) in enumerate([(3, 32), (32, 64), (64, 64)], start=1):
        conv = nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False)
        block = nn.Sequential(conv, nn.BatchNorm2d(wider), nn.ReLU(inplace=True))
        stages.append((f"conv{number}", block))
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone([*stages, ("pool", pool)], [name for name, _ in stages] + ["pool"], 64)
