"""The weights that a classifier begins with, in the layout of its backbone."""

from __future__ import annotations

from torch import Tensor

from quarterturn.models.backbone import Backbone
from quarterturn.presets import FOLDED
from quarterturn.weights.caffe_folding import balance, fold


def weights_for(pretrained: Backbone, name: str, sample: Tensor | None = None) -> dict[str, Tensor]:
    """The weights of a backbone, under the names of the one that is trained.

    Args:
        pretrained: In eval mode.
        name: Of the backbone to be trained. For AlexNet without batch norm, that of ``pretrained``
            is folded into the layers before it.
        sample: (n, 3, S, S) images by which the folded layers are scaled; see
            `quarterturn.weights.caffe_folding.balance`.

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
        balance(folded, sample, unit=True)
    return {
        f"stages.{layer}.0.{kind}": values
        for key, values in folded.state_dict().items()
        for layer, _, kind in [key.partition(".")]
    }
