"""A head as one linear layer over the whole feature, as other libraries have their classifiers.

Shapes: B images; C classes; D feature width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from quarterturn.errors import ConfigError
from quarterturn.losses.logit_adjustment import adjust_logits
from quarterturn.methods.base import Network
from quarterturn.methods.classifier import ClassifierNetwork
from quarterturn.models.heads import CosineHead


@dataclass(frozen=True)
class ExportedHead:
    """Logits that are linear in the features.

    Attributes:
        weight: (C, D).
        bias: (C,); the adjustment by class frequency is in it. A class that was left out for want
            of training images has -inf, so that it is never predicted.
        note: A sentence about the logits, for whoever uses them.
        logits: (B, D) features to the (B, C) logits that the run's own head gives, to check by.
    """

    weight: Tensor
    bias: Tensor
    note: str
    logits: Callable[[Tensor], Tensor]


def untrained_head(num_classes: int, feature_dim: int) -> ExportedHead:
    """A classifier of zeros, to be trained."""
    weight, bias = torch.zeros(num_classes, feature_dim), torch.zeros(num_classes)
    return ExportedHead(
        weight,
        bias,
        "The classifier is all zeros, to be trained.",
        lambda features: F.linear(features, weight, bias),
    )


def classifier_head(network: Network) -> ExportedHead | None:
    """The classifier of a run of ``finetune``; None for a network that has none.

    Cosines are not linear. A classifier of cosines, as LDAM trains, becomes one without the
    division by the feature's length, which leaves the order of the classes as it is.

    Args:
        network: Any network.

    Raises:
        ConfigError: Its cosines are adjusted by class frequency, which no linear layer does.
    """
    if not isinstance(network, ClassifierNetwork):
        return None
    head, strength, priors = network.classifier, network.post_hoc_adjustment, network.log_priors
    classes = f"The classifier has the {head.out_features:,} classes of the run"
    if not isinstance(head, CosineHead):
        function = "sigmoid" if network.several_labels else "softmax"
        note = f"{classes}; the {function} of its logits is their probabilities."
        bias = adjust_logits(head.bias.detach(), priors, strength)
        return ExportedHead(head.weight.detach(), bias, note, network.class_logits)
    if strength:
        raise ConfigError(
            "this classifier gives cosines, adjusted by class frequency (--post-hoc-adjustment "
            f"{strength:g}), and no linear layer computes that; --format safetensors and onnx keep "
            "it, and --num-classes N writes one of zeros in its place"
        )
    return ExportedHead(
        F.normalize(head.weight.detach(), dim=-1),
        adjust_logits(torch.zeros_like(priors), priors, strength),
        f"{classes}. {_of_cosines(network.scale, 'feature')}",
        lambda features: adjust_logits(_unnormalised(head, features), priors, strength),
    )


def rotation_head(network: Network) -> ExportedHead | None:
    """The rotation head, whose weights on the invariant half are zero; None where there is none."""
    if (head := network.rotation_head) is None:
        return None
    missing = network.backbone.feature_dim - head.in_features
    note = (
        "The classifier is the rotation head: logits of 0, 90, 180 and 270 degrees, "
        "counter-clockwise."
    )
    if not isinstance(head, CosineHead):
        weight = F.pad(head.weight.detach(), (0, missing))
        return ExportedHead(weight, head.bias.detach(), note, network.rotation_logits)
    weight = F.pad(F.normalize(head.weight.detach(), dim=-1), (0, missing))
    part = "rotation half" if missing else "feature"
    return ExportedHead(
        weight,
        torch.zeros(4),
        f"{note} {_of_cosines(network.rotation_scale, part)}",
        lambda features: _unnormalised(head, features[:, : head.in_features]),
    )


def _unnormalised(head: CosineHead, features: Tensor) -> Tensor:
    return head(features) * features.norm(dim=-1, keepdim=True)


def _of_cosines(scale: float, part: str) -> str:
    return (
        f"It was trained on cosines, and a linear layer gives them times the length of the {part}: "
        f"the order is the same, and probabilities are softmax({scale:g} * logits / length)."
    )
