"""Learning to detect objects: which detector, by the options.

Both are networks on a backbone; `quarterturn.methods.fast_rcnn` and
`quarterturn.methods.faster_rcnn` have them.
"""

from __future__ import annotations

from quarterturn.methods.base import Method, Network, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.detector_options import DetectorOptions
from quarterturn.methods.fast_rcnn import FastRCNN, RegionClassification
from quarterturn.methods.faster_rcnn import FasterRCNN, ProposalsAndRegions
from quarterturn.models.backbone import Backbone


def build_network(config: Config, backbone: Backbone, num_classes: int) -> Network:
    """See `quarterturn.methods.build.MethodModule`.

    Raises:
        ConfigError: The backbone has no map of an image of any size.
    """
    options = config.method_as(DetectorOptions)
    network: Network
    if options.detector == "fast-rcnn":
        network = FastRCNN(backbone, num_classes)
    else:
        network = FasterRCNN(backbone, num_classes, options)
    names = backbone.parting_layers
    if options.freeze_first and config.model.trained == "whole" and len(names) > 1:
        network.freeze(names[1])
    return network


def build_method(config: Config, network: Network, facts: TrainingFacts) -> Method:
    """See `quarterturn.methods.build.MethodModule`."""
    if isinstance(network, FastRCNN):
        return RegionClassification(network, seed=config.run.seed)
    assert isinstance(network, FasterRCNN)
    return ProposalsAndRegions(network, seed=config.run.seed)
