"""SimCLR (Chen, Kornblith, Norouzi, Hinton, ICML 2020), on the views and losses of multiview.

It is the yardstick of `quarterturn.methods.multiview`. With turned views and a rotation loss, both
on the whole feature, it is multiview without the split.
"""

from __future__ import annotations

from quarterturn.methods.base import Network, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.simclr_options import SimCLROptions
from quarterturn.methods.view_learning import (
    ViewLearning,
    ViewNetwork,
    build_view_learning,
    head_width_of,
)
from quarterturn.models.backbone import Backbone


def build_network(config: Config, backbone: Backbone, num_classes: int) -> ViewNetwork:
    """See `quarterturn.methods.build.MethodModule`."""
    options = config.method_as(SimCLROptions)
    return ViewNetwork(
        backbone,
        options.embedding_dim,
        head_width=head_width_of(options),
        predicts_turns=options.has_rotation_loss,
        rotation_scale=config.rotation_scale,
    )


def build_method(config: Config, network: Network, facts: TrainingFacts) -> ViewLearning:
    """See `quarterturn.methods.build.MethodModule`."""
    options = config.method_as(SimCLROptions)
    term_weights = {"instance": options.instance_weight}
    if options.has_rotation_loss:
        term_weights = {"rotation": options.rotation_weight, **term_weights}
    return build_view_learning(config, network, facts, term_weights, turned=options.turned_views)
