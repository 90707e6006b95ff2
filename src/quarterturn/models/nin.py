"""RotNet's Network-in-Network."""

from __future__ import annotations

from torch import nn

from quarterturn.models.backbone import Backbone


def nin(image_size: int = 32, num_blocks: int = 4) -> Backbone:
    """Network-in-Network, RotNet's network for CIFAR (Gidaris et al., ICLR 2018, section 3.1).

    A block is a 5x5 convolution (3x3 from the third block on) and two 1x1 convolutions, each
    without bias and followed by batch norm and ReLU. The first block ends in a max pool and the
    second in an average pool, both 3x3 with stride 2; a block's feature is taken after its pool.
    The only other pool is the global average, as in RotNet's configuration for CIFAR-10. Features:
    192, halves 96 + 96. Weights are normal with standard deviation sqrt(2 / (kernel^2 * outputs)),
    as in RotNet.

    Args:
        image_size: Side of the input in pixels; any is accepted.
        num_blocks: 3, 4 or 5 in the paper, at least 1.

    Raises:
        ValueError: ``num_blocks`` is below 1.
    """
    if num_blocks < 1:
        raise ValueError(f"nin needs at least one block, found {num_blocks}")
    blocks = [
        _block(3, (192, 160, 96), kernel=5, pool=nn.MaxPool2d(3, 2, padding=1)),
        _block(96, (192, 192, 192), kernel=5, pool=nn.AvgPool2d(3, 2, padding=1)),
        *(_block(192, (192, 192, 192), kernel=3) for _ in range(2, num_blocks)),
    ][:num_blocks]
    stages = [(f"block{i + 1}", block) for i, block in enumerate(blocks)]
    stages.append(("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())))
    feature_dim = 192 if num_blocks > 1 else 96
    return Backbone(stages, [name for name, _ in stages], feature_dim)


def _block(
    inputs: int, widths: tuple[int, int, int], *, kernel: int, pool: nn.Module | None = None
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for outputs, size in zip(widths, (kernel, 1, 1), strict=True):
        conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        inputs = outputs
    return nn.Sequential(*layers, *([] if pool is None else [pool]))
