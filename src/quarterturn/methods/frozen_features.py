"""Classifiers on layers of a frozen backbone, all learned in one pass.

Shapes: B images; C classes; d values of all layers' features of an image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.config import HeadsConfig
from quarterturn.data.batches import Batch
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Method, Network, StepOutput
from quarterturn.models.backbone import Backbone
from quarterturn.models.probe_heads import build_head


class HeadsNetwork(Network):
    """A frozen backbone, in eval mode always, and a classifier on each of some layers.

    Args:
        backbone: Images to features by layer.
        classifiers: Layer to classifier.
    """

    def __init__(self, backbone: Backbone, classifiers: Mapping[str, nn.Module]) -> None:
        super().__init__(backbone)
        self.classifiers = nn.ModuleDict(classifiers)
        backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> HeadsNetwork:
        """Training mode, for the classifiers."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S), or what the backbone takes, to each layer's (B, C) logits, in float32."""
        with torch.no_grad():
            features = self.backbone.features(images, tuple(self.classifiers))
        with torch.autocast(images.device.type, enabled=False):
            return {name: self.classifiers[name](found.float()) for name, found in features.items()}


class FrozenFeatures(Method):
    """The classification loss of every layer's classifier; they do not know of each other.

    Args:
        network: A `HeadsNetwork`.
    """

    reads_labels = True

    def __init__(self, network: HeadsNetwork) -> None:
        self.network = network
        self.term_weights = dict.fromkeys(network.classifiers, 1.0)

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """Cross-entropy of each layer's logits."""
        logits = network(batch.images)
        return StepOutput({name: F.cross_entropy(of, batch.labels) for name, of in logits.items()})


class KeptLayers(Backbone):
    """Stands for a backbone whose features were extracted before: hands out what it is given.

    Args:
        shapes: Layer to the shape of its features of one image.
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__([], list(shapes), sum(math.prod(shape) for shape in shapes.values()))
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """(B, d) features of all layers, flattened side by side, to those of each."""
        self.refuse_unknown(layers)
        parts = images.split([math.prod(shape) for shape in self.shapes.values()], dim=1)
        of_all = zip(self.shapes.items(), parts, strict=True)
        return {name: part.unflatten(1, shape) for (name, shape), part in of_all if name in layers}


def build_frozen_features(
    backbone: Backbone,
    shapes: Mapping[str, Sequence[int]],
    num_classes: int,
    settings: HeadsConfig,
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> FrozenFeatures:
    """Classifiers with weights fixed by the seed, on a backbone.

    Args:
        backbone: The backbone, or `KeptLayers`.
        shapes: Layer to the shape of its features of one image.
        num_classes: C.
        settings: Which classifiers.
        seed: Of their weights.
        device: Where they are to live.

    Raises:
        ConfigError: A classifier does not fit its layer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            classifiers = {
                layer: build_head(
                    settings.head, shape, num_classes,
                    num_features=settings.num_features, extra_conv=layer in settings.extra_conv,
                )
                for layer, shape in shapes.items()
            }  # fmt: skip
        except ValueError as error:
            raise ConfigError(f"{error}: name other --layers") from error
    network = HeadsNetwork(backbone, classifiers)
    return FrozenFeatures(network.to(device).to(memory_format=torch.channels_last))
