"""The weights that a classifier begins with, in the layout of its backbone."""

from __future__ import annotations

from torch import Tensor

from quarterturn.models.backbone import Backbone
from quarterturn.presets import FOLDED
from quarterturn.weights.caffe_folding import fold


def weights_for(pretrained: Backbone, name: str) -> dict[str, Tensor]:
    """The weights of a backbone, under the names of the one that is trained.

    Args:
        pretrained: In eval mode.
        name: Of the backbone to be trained. For AlexNet without batch norm, that of ``pretrained``
            is folded into the layers before it.
    """
    weights = pretrained.state_dict()
    if name not in FOLDED or not any("running_mean" in key for key in weights):
        return weights
    folded = fold(pretrained.eval()).state_dict()
    found = {
        f"stages.{layer}.0.{kind}": values
        for key, values in folded.items()
        for layer, _, kind in [key.partition(".")]
    }
    return {key: v for key, v in found.items() if not (name.endswith("pool5") and ".fc" in key)}
