"""The weights that a classifier begins with, in the layout of its backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quarterturn.errors import ConfigError
from quarterturn.models.backbone import Backbone
from quarterturn.presets import FOLDED
from quarterturn.weights.caffe_folding import balance, fold


def weights_for(pretrained: Backbone, name: str, sample: Tensor | None = None) -> dict[str, Tensor]:
    """The weights of a backbone, under the names of the one that is trained.

    Args:
        pretrained: In eval mode.
        name: Of the backbone to be trained. For AlexNet without batch norm, that of ``pretrained``
            is folded into the layers before it.
        sample: (n, 3, S, S) images by which the folded layers are scaled; see `scale_to_unit`.

    Raises:
        ConfigError: There is a sample, and its features are all zero.
    """
    weights = pretrained.state_dict()
    if name not in FOLDED or not any("running_mean" in key for key in weights):
        return weights
    folded = fold(pretrained.eval())
    if name.endswith("pool5"):
        folded = folded[: [key for key, _ in folded.named_children()].index("fc6")]
    if sample is not None:
        scale_to_unit(folded, sample)
    return {
        f"stages.{layer}.0.{kind}": values
        for key, values in folded.state_dict().items()
        for layer, _, kind in [key.partition(".")]
    }


@torch.no_grad()
def scale_to_unit(folded: nn.Sequential, images: Tensor) -> None:
    """Scale all layers to learn at one rate, and the last output to a standard deviation of 1.

    The rescaling of Krähenbühl et al. (ICLR 2016) as their code does it for networks whose next
    layer is drawn anew: its rate and its initial weights are fixed, so the scale of what it reads
    decides how fast it learns. Each feature changes by one positive factor.

    Args:
        folded: A network of `quarterturn.weights.caffe_folding.fold`, changed in place.
        images: (n, 3, S, S), normalised.

    Raises:
        ConfigError: A layer outputs only zeros for these images.
    """
    balance(folded, images)
    spread = float(folded(images).std())
    if not spread > 0:
        raise ConfigError(
            f"--rescale unit: the features of {len(images)} training images are all alike; leave "
            "it out"
        )
    last = [module for module in folded if isinstance(module, nn.Conv2d | nn.Linear)][-1]
    last.weight.div_(spread)
    assert last.bias is not None
    last.bias.div_(spread)
