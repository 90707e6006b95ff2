"""Things that turn images into named features, to be probed.

Shapes: B images; d width of a part.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.config import DataConfig
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.errors import ConfigError
from quarterturn.features.cache import FeatureCache, weights_fingerprint
from quarterturn.methods.base import Network


class NetworkFeatures(nn.Module):
    """A network's features, by the names of their parts.

    The last layer is handed out by the parts that the network names: ``rotation``, ``invariant``
    and ``both``, or ``whole``. Other layers go by their own names; maps are averaged over the
    squares of a grid, or go through ``pool``.

    Args:
        network: Backbone and heads.
        layers: Layers of the backbone; by default the last.
        grid: Squares a side that maps are averaged over; 1 averages the whole map.
        pool: In place of the grid, what maps (B, C, H, W) go through; its ``repr`` says what it is.

    Raises:
        ConfigError: No layer, or one that the backbone has not; the message lists those it has.
    """

    def __init__(
        self,
        network: Network,
        layers: tuple[str, ...] | None = None,
        grid: int = 1,
        pool: nn.Module | None = None,
    ) -> None:
        super().__init__()
        offered = network.backbone.layers
        asked = (offered[-1],) if layers is None else layers
        self.layers = tuple(name for name in offered if name in asked)
        unknown = [name for name in asked if name not in offered]
        if unknown or not asked:
            raise ConfigError(
                f"no layers {', '.join(unknown) or 'named'}; the backbone has {', '.join(offered)}"
            )
        if grid < 1:
            raise ConfigError(f"--grid is {grid}; expected at least 1")
        # What convolutions compute in fastest, a fifth on processors; shapes are as ever.
        self.network = network.to(memory_format=torch.channels_last)
        self.grid, self.pool = grid, pool
        self.training = network.training  # who puts this in eval mode puts the network's mode back

    @cached_property
    def fingerprint(self) -> str:
        """Of all weights, as they are when it is first asked for."""
        return weights_fingerprint(self.network)

    def layer_of(self, part: str) -> str:
        """The layer that a part of the features is of."""
        last = self.network.backbone.layers[-1]
        return part if part in self.layers and part != last else last

    @torch.no_grad()
    def widths(self, image_size: int) -> dict[str, int]:
        """The width of each part, told by one blank image of so many pixels a side."""
        device = next(self.network.parameters()).device
        self.eval()
        blank = torch.zeros(1, 3, image_size, image_size, device=device)
        return {name: values[0].numel() for name, values in self(blank).items()}

    def store_key(
        self, layer: str, images: ImageSet, crop: DataConfig, turns: Tensor | None = None
    ) -> str:
        """What a store knows the features of some images by.

        Args:
            layer: One of the layers.
            images: The images.
            crop: Crop and normalisation settings.
            turns: (N,) quarter turns, one for each image; upright without.
        """
        about = {
            "weights": self.fingerprint,
            "layer": layer,
            "grid": None if layer == self.network.backbone.layers[-1] else self._pooling,
            "images": images.fingerprint(),
            # Files of one name and size in another folder are other images, and so are files that
            # were turned in place.
            "files": images.files_fingerprint() if isinstance(images, FileImages) else None,
            "image_size": crop.image_size,
            "eval_crop": crop.eval_crop,
            "mean": crop.mean,
            "std": crop.std,
        }
        return FeatureCache.key(about, turns)

    @property
    def _pooling(self) -> int | str:
        return self.grid if self.pool is None else repr(self.pool)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) to named (B, d)."""
        found = self.network.features(images, self.layers)
        if self.pool is not None:
            return {name: self.pool(values) for name, values in found.items()}
        return {name: pooled(values, self.grid) for name, values in found.items()}


class Pixels(nn.Module):
    """The pixels of the centre crop, which any method has to beat."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) to (B, 3*S*S)."""
        return {"pixels": images.flatten(1)}


def choose_part(
    network: Network, half: str | None = None, layer: str | None = None
) -> tuple[NetworkFeatures, str]:
    """The part of a network's features that a user asks for.

    Args:
        network: Backbone and heads.
        half: ``invariant`` (the default where the network has halves), ``rotation`` or ``both``.
        layer: A named layer instead of the last, whole; maps are averaged over their area.

    Returns:
        The features, and which of the parts they hand out is meant.

    Raises:
        ConfigError: The network has no halves, or no such layer; or both are asked for.
    """
    parts = list(network.parts(torch.zeros(1, network.backbone.feature_dim)))
    if layer is not None:
        if half is not None:
            raise ConfigError("--half parts the last layer; give --half or --layer, not both")
        features = NetworkFeatures(network, (layer,))
        if layer != network.backbone.layers[-1]:
            return features, layer
        return features, "both" if "both" in parts else parts[0]
    chosen = half or ("invariant" if "invariant" in parts else parts[0])
    if chosen not in parts:
        raise ConfigError(
            f"--half {chosen}: this run's features are not split in halves; leave --half out"
        )
    return NetworkFeatures(network), chosen


def pooled(values: Tensor, grid: int = 1) -> Tensor:
    """Maps (B, C, H, W) averaged over a grid of squares to (B, C*grid*grid); vectors as they are.

    A map smaller than the grid is taken whole.
    """
    if values.ndim == 2:
        return values
    side = (min(grid, values.shape[2]), min(grid, values.shape[3]))
    return F.adaptive_avg_pool2d(values, side).flatten(1)
