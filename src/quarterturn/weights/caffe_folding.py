"""AlexNet without batch norm, as Caffe needs it: convolutions, linear layers, ReLUs and pools.

In eval mode batch norm is an affine map, which is folded into the layer before it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval

from quarterturn.config import DataConfig
from quarterturn.errors import ConfigError
from quarterturn.models.backbone import Backbone


def fold(backbone: Backbone) -> nn.Sequential:
    """AlexNet without batch norm: ``conv1``, ``relu1``, ``pool1`` ... ``fc7``, ``relu7``.

    Args:
        backbone: AlexNet in eval mode; it is not changed.
    """
    folded = nn.Sequential()
    for name, stage in backbone.stages.items():
        match list(stage) if isinstance(stage, nn.Sequential) else [stage]:
            case [nn.Conv2d() as conv, nn.BatchNorm2d() as norm, _]:
                folded.add_module(name, fuse_conv_bn_eval(conv, norm))
                folded.add_module(f"relu{name[-1]}", nn.ReLU())
            case [nn.Linear() as linear, nn.BatchNorm1d() as norm, _]:
                folded.add_module(name, fuse_linear_bn_eval(linear, norm))
                folded.add_module(f"relu{name[-1]}", nn.ReLU())
            case [nn.MaxPool2d() | nn.Flatten() as module]:
                folded.add_module(name, module)
    return folded.requires_grad_(False)


def take_bgr255(folded: nn.Sequential, crop: DataConfig) -> None:
    """Make ``conv1`` take blue, green, red in 0..255 minus the mean, instead of normalised RGB.

    The two inputs differ by a factor per channel, so zeros stay zeros and padding is unaffected.
    """
    conv1 = folded.get_submodule("conv1")
    assert isinstance(conv1, nn.Conv2d)
    conv1.weight.copy_((conv1.weight / _ranges(crop, conv1.weight)).flip(1))


def as_bgr255(images: Tensor, crop: DataConfig) -> Tensor:
    """Normalised RGB images to blue, green, red in 0..255 minus the mean."""
    return (images * _ranges(crop, images)).flip(1)


def _ranges(crop: DataConfig, like: Tensor) -> Tensor:
    return 255 * torch.tensor(crop.std, dtype=like.dtype)[:, None, None]


@torch.no_grad()
def balance(
    folded: nn.Sequential, images: Tensor, seed: int = 0, *, unit: bool = False
) -> dict[str, float]:
    """Scale all layers to learn at the same rate, without changing the last output but to order.

    The between-layer normalisation of Krähenbühl, Doersch, Donahue, Darrell, "Data-dependent
    Initializations of Convolutional Neural Networks" (ICLR 2016). The rate of a layer is the root
    of its weights' mean squared gradient over their mean square, for a random linear loss on the
    last output. Each layer is multiplied by the root of its rate over the geometric mean of all
    rates. Biases are scaled with the layer's input, so each output changes only by a positive
    factor, and the last one not at all. The paper iterates this with damping, for any network; for
    homogeneous layers, as here, one step is exact.

    Args:
        folded: A network from `fold`, changed in place.
        images: (n, 3, S, S) as ``conv1`` takes them.
        seed: Fixes the random loss.
        unit: Bring the last output to a standard deviation of 1 on these images, as their code does
            for networks whose next layer is drawn anew: its rate and its initial weights are fixed,
            so the scale of what it reads decides how fast it learns.

    Returns:
        Layer to the factor by which its output has grown.

    Raises:
        ConfigError: A layer outputs zeros for all of these images, or the last one a constant.
    """
    layers = {n: m for n, m in folded.named_children() if isinstance(m, nn.Conv2d | nn.Linear)}
    rates = learning_rates(folded, images, seed)
    if dead := [name for name, rate in rates.items() if not 0 < rate < math.inf]:
        raise ConfigError(
            f"--rescale: {', '.join(dead)} output only zeros on the sample of {len(images)} "
            "images, so their scale is unknown; give other images with --sample"
        )
    mean = math.exp(sum(map(math.log, rates.values())) / len(rates))
    factor, factors = 1.0, {}
    for name, layer in layers.items():
        scale = math.sqrt(rates[name] / mean)
        factor *= scale
        layer.weight.mul_(scale)
        assert layer.bias is not None
        layer.bias.mul_(factor)
        factors[name] = factor
    if unit:
        spread = float(folded(images).std())
        if not spread > 0:
            raise ConfigError(
                f"--rescale unit: the features of {len(images)} images are all alike; leave it out"
            )
        layer.weight.div_(spread)
        assert layer.bias is not None
        layer.bias.div_(spread)
        factors[name] /= spread
    return factors


def learning_rates(folded: nn.Sequential, images: Tensor, seed: int = 0) -> dict[str, float]:
    """Root mean squared gradient over root mean square of each layer's weights.

    The loss is the product of the last output with normal random numbers, drawn for each image.
    """
    weights = {
        n: m.weight.detach().requires_grad_()
        for n, m in folded.named_children()
        if isinstance(m, nn.Conv2d | nn.Linear)
    }
    parameters = {f"{name}.weight": weight for name, weight in weights.items()}
    with torch.enable_grad():
        last = torch.func.functional_call(folded, parameters, images)
        noise = torch.randn(last.shape, generator=torch.Generator().manual_seed(seed))
        gradients = torch.autograd.grad((last * noise).sum(), list(weights.values()))
    return {
        name: float((gradient.square().mean() / weights[name].detach().square().mean()).sqrt())
        for name, gradient in zip(weights, gradients, strict=True)
    }
