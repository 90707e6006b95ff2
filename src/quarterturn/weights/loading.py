"""Load trained weights in one line: ``load_backbone``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from quarterturn.data.evaluation_transform import EvaluationTransform
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Network
from quarterturn.methods.classifier import ClassifierNetwork
from quarterturn.methods.configuration import Config
from quarterturn.weights.start import open_start


class LoadedBackbone(nn.Module):
    """A trained backbone with its preprocessing, its rotation head and its classifier.

    Args:
        network: Backbone and heads.
        config: Configuration of the training.
        class_names: Of a classifier, in the order of its logits; else empty.

    Attributes:
        transform: A Pillow image, or its path, to (3, S, S), as in evaluation.
        layers: Names of the layers for `features`.
        feature_dim: D, width of the last layer.
        class_names: As given.
    """

    def __init__(self, network: Network, config: Config, class_names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.class_names = class_names
        self.network = network
        self.transform = EvaluationTransform(config.data)
        self.layers = network.backbone.layers
        self.feature_dim = network.backbone.feature_dim
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) images, as `transform` gives them, to (B, D) features."""
        return self.network.backbone(images)

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Outputs of named layers; nothing after the last of them is computed.

        Args:
            images: (B, 3, S, S), from `transform`.
            layers: Names from ``self.layers``.

        Returns:
            Name to (B, channels, height, width) or (B, width).

        Raises:
            ValueError: The backbone lacks a layer.
        """
        return self.network.backbone.features(images, layers)

    def rotation(self, images: Tensor) -> Tensor:
        """Predict which way up images are: probabilities of the four turns.

        Args:
            images: (B, 3, S, S), from `transform`.

        Returns:
            (B, 4) probabilities of 0, 90, 180 and 270 degrees, counter-clockwise.

        Raises:
            ConfigError: The weights have no rotation head.
        """
        if self.network.rotation_head is None:
            raise ConfigError(
                "these weights have no rotation head: the method instance trains none, and weights "
                "from elsewhere may come without"
            )
        return self.network.turn_logits(images).softmax(dim=-1)

    def classify(self, images: Tensor) -> Tensor:
        """Predict the classes of images, as ``quarterturn predict`` does.

        Args:
            images: (B, 3, S, S), from `transform`.

        Returns:
            (B, C) probabilities of ``self.class_names``; of a row they sum to 1, but where images
            have several labels each.

        Raises:
            ConfigError: The weights have no classifier.
        """
        if not isinstance(self.network, ClassifierNetwork):
            raise ConfigError(
                "these weights have no classifier: quarterturn finetune makes one from labelled "
                "images"
            )
        return self.network.class_probabilities(self(images))


def load_backbone(run_or_file: str | Path, *, download: bool = False) -> LoadedBackbone:
    """A trained backbone in eval mode.

    ``m(x)`` returns (B, D) features of images (B, 3, S, S) from ``m.transform``,
    ``m.features(x, layers=[...])`` the layers named in ``m.layers``, ``m.rotation(x)`` the
    probabilities of the four rotations, and ``m.classify(x)`` those of ``m.class_names``.

    Args:
        run_or_file: A run directory, a checkpoint in one, a file that ``quarterturn import``
            accepts (from ``export --format safetensors``, or another code's weights), or
            ``timm:NAME``.
        download: Fetch timm's weights where its cache has none.

    Raises:
        CheckpointError: There is no run, or its checkpoint or the file cannot be read.
        ConfigError: timm has no such network, or its cache no weights of it.
    """
    start = open_start(run_or_file, download=download)
    return LoadedBackbone(start.network, start.run.config, start.run.class_names)
