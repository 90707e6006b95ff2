"""Trained weights in one line: ``load_backbone``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from quarterturn.config import Config
from quarterturn.data.evaluation_transform import EvaluationTransform
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Network
from quarterturn.runs import Run
from quarterturn.weights.loaded_weights import Weights
from quarterturn.weights.safetensors import is_own, read_safetensors
from quarterturn.weights.third_party import read_third_party


class LoadedBackbone(nn.Module):
    """A trained backbone, how its images are to be prepared, and its rotation head.

    Args:
        network: Backbone and heads.
        config: What it was trained with.

    Attributes:
        transform: A Pillow image, or the path of one, to (3, S, S), as in evaluation.
        layers: Names that `features` takes.
        feature_dim: D, width of the last layer.
    """

    def __init__(self, network: Network, config: Config) -> None:
        super().__init__()
        self.network = network
        self.transform = EvaluationTransform(config.data)
        self.layers = network.backbone.layers
        self.feature_dim = network.backbone.feature_dim
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) images, as `transform` gives them, to (B, D) features."""
        return self.network.backbone(images)

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Named layers, with nothing computed beyond the last of them.

        Args:
            images: (B, 3, S, S), as `transform` gives them.
            layers: Names out of ``self.layers``.

        Returns:
            Name to (B, channels, height, width) or (B, width).

        Raises:
            ValueError: A layer that this backbone has not.
        """
        return self.network.backbone.features(images, layers)

    def rotation(self, images: Tensor) -> Tensor:
        """Which way up images are: probabilities that they were turned by k quarter turns.

        Args:
            images: (B, 3, S, S), as `transform` gives them.

        Returns:
            (B, 4) probabilities of 0, 90, 180 and 270 degrees, counter-clockwise.

        Raises:
            ConfigError: No rotation head came with these weights.
        """
        if self.network.rotation_head is None:
            raise ConfigError(
                "these weights have no rotation head: the method instance trains none, and weights "
                "from elsewhere may come without"
            )
        return self.network.rotation_logits(self(images)).softmax(dim=-1)


def read_weights(path: Path | str, backbone: str | None = None) -> Weights:
    """Read a file that ``quarterturn export --format safetensors`` or another code has written.

    Args:
        path: The file.
        backbone: Ours that the weights are for; told by the tensors' names unless it is
            ``timm:NAME``.

    Raises:
        CheckpointError: The file is missing, damaged, holds more than tensors, or does not fit.
        ConfigError: The weights are for another backbone than the one asked for.
    """
    path = Path(path)
    if not is_own(path):
        return read_third_party(path, backbone)
    weights = read_safetensors(path)
    if backbone not in (None, weights.config.model.backbone):
        raise ConfigError(
            f"--backbone {backbone}, but {path} is of {weights.config.model.backbone}"
        )
    return weights


def load_backbone(run_or_file: str | Path) -> LoadedBackbone:
    """A trained backbone in eval mode.

    ``m(x)`` gives (B, D) features of images (B, 3, S, S) that ``m.transform`` has prepared,
    ``m.features(x, layers=[...])`` the named layers that ``m.layers`` lists, and ``m.rotation(x)``
    the probabilities of the four rotations.

    Args:
        run_or_file: A run directory, the checkpoint within one, or a file that ``quarterturn
            import`` takes: what ``export --format safetensors`` wrote, or another code's weights.

    Raises:
        CheckpointError: There is no run, or its checkpoint or the file cannot be read.
    """
    path = Path(run_or_file)
    if path.suffix == ".ckpt":
        path = path.parent.parent
    elif path.is_file():
        weights = read_weights(path)
        return LoadedBackbone(weights.network, weights.config)
    run = Run.open(path)
    return LoadedBackbone(run.load_network(), run.config)
