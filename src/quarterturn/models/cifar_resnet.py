"""The thin ResNets for CIFAR, on which LDAM and others compare losses for the long tail."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.models.backbone import Backbone


def cifar_resnet(image_size: int = 32, depth: int = 32) -> Backbone:
    """The ResNet of 6n + 2 layers for CIFAR (He et al., CVPR 2016, section 4.2).

    A 3x3 convolution of 16 channels, then three groups of n blocks with 16, 32 and 64 channels, the
    second and third at half the resolution of the previous one, then global average pooling.
    Shortcuts are the paper's option A, without parameters. Features: 64, halves 32 + 32. Weights
    have Kaiming normal initialisation over the inputs, as in the LDAM-DRW repository.

    Args:
        image_size: Side of the input in pixels; any is accepted.
        depth: 6n + 2, 20 to 110 in the paper.

    Raises:
        ValueError: The depth does not have this form.
    """
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        raise ValueError(f"this ResNet's depth is 8, 14, 20 ... (6n + 2), found {depth}")
    stem = nn.Sequential(_conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
    stages: list[tuple[str, nn.Module]] = [("stem", stem)]
    inputs = 16
    for number, outputs in enumerate((16, 32, 64), start=1):
        first = ResidualBlock(inputs, outputs, stride=outputs // inputs)
        others = [ResidualBlock(outputs, outputs) for _ in range(1, blocks)]
        stages.append((f"layer{number}", nn.Sequential(first, *others)))
        inputs = outputs
    stages.append(("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())))
    return Backbone(stages, [name for name, _ in stages], feature_dim=inputs)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to the input.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output, at least as many.
        stride: Stride of the first convolution and of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = _conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, S, S) to (B, outputs, ceil(S / stride), ceil(S / stride))."""
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + shortcut(x, out.shape[1], self.stride))


def shortcut(x: Tensor, channels: int, stride: int) -> Tensor:
    """Option A: the identity if shapes match, else every second pixel, padded with zero channels.

    Half of the zero channels come first and half last, as in the LDAM-DRW repository.

    Args:
        x: (B, inputs, S, S).
        channels: Channels of the result.
        stride: 1 keeps all pixels.
    """
    missing = channels - x.shape[1]
    before = missing // 2
    return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, before, missing - before))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return conv
