"""AlexNet with batch norm, as in the paper's code."""

from __future__ import annotations

from torch import nn

from quarterturn.models.backbone import Backbone


def alexnet(image_size: int = 224) -> Backbone:
    """AlexNet with batch norm after every convolution and linear layer, without dropout.

    The network of Gidaris et al. (ICLR 2018) and Feng et al. (CVPR 2019): convolutions 64-192-384-
    256-256 with biases and two linear layers of 4096 without. conv1 to conv5 are taken after batch
    norm and ReLU, before the pool; pool1, pool2 and pool5 are maps, and fc_block is the original
    code's name for all up to fc7. Features: 4096, halves 2048 + 2048. Parameters have PyTorch's
    default initialisation.

    Args:
        image_size: Side of the input in pixels, 224 in the paper and at least 63; sets the shape of
            fc6.

    Raises:
        ValueError: The images are too small for the three pools.
    """
    side = image_size
    for kernel, stride, padding in [(11, 4, 2), (3, 2, 0), (3, 2, 0), (3, 2, 0)]:
        side = (side + 2 * padding - kernel) // stride + 1
    if side < 1:
        raise ValueError(f"alexnet needs images of 63 px or more, found {image_size}")
    stages = [
        ("conv1", _conv(3, 64, kernel=11, stride=4, padding=2)),
        ("pool1", nn.MaxPool2d(3, 2)),
        ("conv2", _conv(64, 192, kernel=5, padding=2)),
        ("pool2", nn.MaxPool2d(3, 2)),
        ("conv3", _conv(192, 384, kernel=3, padding=1)),
        ("conv4", _conv(384, 256, kernel=3, padding=1)),
        ("conv5", _conv(256, 256, kernel=3, padding=1)),
        ("pool5", nn.MaxPool2d(3, 2)),
        ("flatten", nn.Flatten()),
        ("fc6", _linear(256 * side * side, 4096)),
        ("fc7", _linear(4096, 4096)),
    ]
    layers = [name for name, _ in stages if name != "flatten"]
    return Backbone(stages, layers, feature_dim=4096, aliases={"fc_block": "fc7"})


def _conv(inputs: int, outputs: int, *, kernel: int, padding: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _linear(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)
    )
