"""The literature's classifiers on frozen layers.

Shapes: B images; C channels, H and W height and width of a layer's maps; D width of a vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN_WIDTH = 4096
"""Width of AlexNet's two fully connected layers."""


def build_head(
    kind: str,
    shape: Sequence[int],
    num_classes: int,
    *,
    num_features: int = 9000,
    extra_conv: bool = False,
) -> nn.Sequential:
    """Build a classifier on one layer's features.

    ``linear`` (Zhang et al., ECCV 2016, as in the code of Gidaris et al., ICLR 2018): maps are
    max-pooled to about ``num_features`` values, normalised per channel without learned scales, and
    classified.
    ``nonlinear`` (Noroozi and Favaro, ECCV 2016, in the same code): the rest of AlexNet, a 3x3 max
    pool with stride 2 and two hidden layers of 4,096 with batch norm.
    ``multilayer`` (Gidaris et al., section 4.1): two hidden layers of 20 units per class, at most
    2,048, with batch norm. ``convolutional`` (the same section): the three convolutions of a
    Network-in-Network block with 192 channels, global average pooling, a linear classifier.

    Weights are normal with standard deviation sqrt(2 / outputs), as in that code, where outputs are
    multiplied by the kernel area for convolutions; biases of linear layers are 0.

    Args:
        kind: ``linear``, ``nonlinear``, ``multilayer`` or ``convolutional``.
        shape: (C, H, W) of the layer's maps, or (D,).
        num_classes: Number of classes.
        num_features: Approximate number of features of a linear head.
        extra_conv: Start a nonlinear head with a 3x3 convolution, batch norm and ReLU.

    Returns:
        Takes ``(B, *shape)`` and gives (B, num_classes) logits.

    Raises:
        ValueError: The kind is unknown, or does not fit the shape.
    """
    if kind in ("nonlinear", "convolutional") and len(shape) == 1:
        raise ValueError(f"a {kind} head needs maps, and this layer is a vector of {shape[0]}")
    channels, width = shape[0], math.prod(shape)
    layers: list[nn.Module]
    match kind:
        case "linear":
            pool = MaxPoolTo(num_features)
            width = math.prod(pool.shape_of(shape))
            norm = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
            layers = [pool, norm(channels, affine=False), nn.Flatten()]
            layers.append(nn.Linear(width, num_classes))
        case "nonlinear":
            layers = _conv(channels, channels, kernel=3, bias=True) if extra_conv else []
            height, across = (max(1, (side - 3) // 2 + 1) for side in shape[1:])
            # A map smaller than the window is pooled whole.
            layers.append(nn.MaxPool2d((min(3, shape[1]), min(3, shape[2])), 2))
            layers.append(nn.Flatten())
            layers += _hidden(channels * height * across, HIDDEN_WIDTH, num_classes)
        case "multilayer":
            layers = [nn.Flatten(), *_hidden(width, min(20 * num_classes, 2048), num_classes)]
        case "convolutional":
            layers = [
                *_conv(channels, 192, kernel=3),
                *_conv(192, 192, kernel=1),
                *_conv(192, 192, kernel=1),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(192, num_classes),
            ]
        case other:
            raise ValueError(f"unknown kind of head {other!r}")
    head = nn.Sequential(*layers)
    for module in head.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            outputs = module.weight.shape[0] * math.prod(module.weight.shape[2:])
            nn.init.normal_(module.weight, std=math.sqrt(2 / outputs))
            if module.bias is not None and isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
    return head


class MaxPoolTo(nn.Module):
    """Max-pool maps to a square grid that leaves about ``num_features`` features.

    The grid's side is sqrt(num_features / C), rounded, at most that of the map. For AlexNet at
    224 px this gives the literature's 12, 7, 5, 6, 6 for conv1 to conv5. Vectors are unchanged.

    Args:
        num_features: Approximate number of features after pooling.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def extra_repr(self) -> str:
        """Part of the key of cached features."""
        return f"{self.num_features}"

    def shape_of(self, shape: Sequence[int]) -> tuple[int, ...]:
        """(C, H, W) to the shape after pooling; (D,) unchanged."""
        if len(shape) == 1:
            return tuple(shape)
        side = max(1, round(math.sqrt(self.num_features / shape[0])))
        return (shape[0], min(side, shape[1]), min(side, shape[2]))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, h, w)."""
        pooled = self.shape_of(features.shape[1:])
        if pooled == tuple(features.shape[1:]):
            return features
        return F.adaptive_max_pool2d(features, pooled[1:])


def _conv(inputs: int, outputs: int, *, kernel: int, bias: bool = False) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _hidden(inputs: int, width: int, num_classes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for size in (inputs, width):
        layers += [nn.Linear(size, width, bias=False), nn.BatchNorm1d(width)]
        layers.append(nn.ReLU(inplace=True))
    return [*layers, nn.Linear(width, num_classes)]
