"""Multiview: rotation feature decoupling by several turned views of each image.

It carries the paper's form (`quarterturn.methods.decoupling`) on: each view has a turn of its own,
which the rotation half predicts; the invariant half tells an image's views, in whatever turns, from
the views of the other images of the batch. So no memory bank has to be filled first, and an image
is compared across crops and colours too.
"""

from __future__ import annotations

from quarterturn.errors import ConfigError
from quarterturn.methods.base import Network, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.multiview_options import MultiviewOptions
from quarterturn.methods.view_learning import (
    ViewLearning,
    ViewNetwork,
    build_view_learning,
    head_width_of,
)
from quarterturn.models.backbone import Backbone
from quarterturn.models.heads import CosineHead, LinearHead


class MultiviewNetwork(ViewNetwork):
    """A backbone whose feature is split: one half predicts turns, the other is embedded.

    Raises:
        ConfigError: The feature's width is odd.
    """

    rotation_head: LinearHead | CosineHead
    decoupled = True


def build_network(config: Config, backbone: Backbone, num_classes: int) -> MultiviewNetwork:
    """See `quarterturn.methods.build.MethodModule`."""
    if backbone.feature_dim % 2:
        raise ConfigError(
            f"the backbone's feature has odd width {backbone.feature_dim}, which cannot be "
            "halved; --method simclr takes it whole"
        )
    options = config.method_as(MultiviewOptions)
    return MultiviewNetwork(
        backbone,
        options.embedding_dim,
        head_width=head_width_of(options),
        rotation_scale=config.rotation_scale,
    )


def build_method(config: Config, network: Network, facts: TrainingFacts) -> ViewLearning:
    """See `quarterturn.methods.build.MethodModule`."""
    options = config.method_as(MultiviewOptions)
    term_weights = {"rotation": options.rotation_weight}
    if options.invariance_weight:
        term_weights["invariance"] = options.invariance_weight
    term_weights["instance"] = options.instance_weight
    return build_view_learning(config, network, facts, term_weights, turned=True)
