"""Classifiers on layers of a frozen backbone, all learned in one pass.

Shapes: B images; C classes; d values of all named features of an image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.data.batches import Batch
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Method, Network, StepOutput
from quarterturn.methods.probe_heads_options import ProbeHeadsOptions
from quarterturn.models.backbone import Backbone
from quarterturn.models.probe_heads import build_head

Shapes = Mapping[str, tuple[int, ...]]
"""Name of features to their shape of one image."""


class HeadsNetwork(Network):
    """A frozen backbone, and a classifier on each of its named features.

    The backbone is in eval mode always, and no gradient reaches it: optimizers pass over it.

    Args:
        source: The network that is probed.
        layers: Layers of the backbone.
        classifiers: Classifiers by the names that `Network.features` gives.

    Attributes:
        names: Of the classifiers, in their order.
    """

    def __init__(
        self, source: Network, layers: Sequence[str], classifiers: Mapping[str, nn.Module]
    ) -> None:
        super().__init__(source.backbone)
        self.decoupled = source.decoupled  # the last layer has the same parts
        self.layers, self.names = tuple(layers), tuple(classifiers)
        self.classifiers = nn.ModuleList(classifiers.values())  # names may have dots: blocks.0

    def train(self, mode: bool = True) -> HeadsNetwork:
        """Training mode, for the classifiers."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) to the (B, C) logits of each classifier, in float32."""
        with torch.no_grad():
            features = self.features(images, self.layers)
        with torch.autocast(images.device.type, enabled=False):
            return {
                name: classifier(features[name].float())
                for name, classifier in zip(self.names, self.classifiers, strict=True)
            }


class KeptFeaturesNetwork(HeadsNetwork):
    """The same, given features that were extracted before in place of images.

    Args:
        shapes: Of the features.
        classifiers: Classifiers by the same names.
    """

    def __init__(self, shapes: Shapes, classifiers: Mapping[str, nn.Module]) -> None:
        super().__init__(Network(Backbone([], [], 0)), (), classifiers)
        self.shapes = shapes

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """(B, d) all features of an image side by side, flattened, to each in its shape."""
        parts = images.split([math.prod(shape) for shape in self.shapes.values()], dim=1)
        of_all = zip(self.shapes.items(), parts, strict=True)
        return {name: part.unflatten(1, shape) for (name, shape), part in of_all}


class FrozenFeatures(Method):
    """The classification loss of every classifier; they do not know of each other.

    Args:
        network: Features and classifiers.
    """

    reads_labels = True

    def __init__(self, network: HeadsNetwork) -> None:
        self.network = network
        self.term_weights = dict.fromkeys(network.names, 1.0)

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """Cross-entropy of each classifier's logits."""
        assert batch.labels is not None
        logits, labels = network(batch.images), batch.labels
        return StepOutput({name: F.cross_entropy(of, labels) for name, of in logits.items()})


def feature_shapes(network: Network, layers: Sequence[str], image_size: int) -> Shapes:
    """The shapes of one image's features, by a pass over black pixels."""
    device = next(network.parameters()).device
    was_training = network.training
    with torch.no_grad():
        black = torch.zeros(1, 3, image_size, image_size, device=device)
        found = network.eval().features(black, layers)
    network.train(was_training)
    return {name: tuple(values.shape[1:]) for name, values in found.items()}


def build_classifiers(
    shapes: Shapes, num_classes: int, settings: ProbeHeadsOptions, seed: int
) -> dict[str, nn.Module]:
    """A classifier for each of the features, its weights fixed by the seed.

    Args:
        shapes: Of the features.
        num_classes: C.
        settings: Which classifiers.
        seed: Of their weights.

    Raises:
        ConfigError: One does not fit its features.
    """
    classifiers: dict[str, nn.Module] = {}
    for name, shape in shapes.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # for each anew: it must not matter beside which others it is
            try:
                classifiers[name] = build_head(
                    settings.head,
                    shape,
                    num_classes,
                    num_features=settings.num_features,
                    extra_conv=name in settings.extra_conv,
                )
            except ValueError as error:
                raise ConfigError(f"{name}: {error}; name other --layers") from error
    return classifiers
