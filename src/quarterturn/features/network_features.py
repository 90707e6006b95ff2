"""A network's features by part: its halves, its layers, or the whole last layer.

Shapes: B images; d width of a part.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from quarterturn.config import DataConfig
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.errors import ConfigError
from quarterturn.features.cache import FeatureCache
from quarterturn.methods.base import Network
from quarterturn.models.backbone import pooled


def weights_fingerprint(module: nn.Module) -> str:
    """A short hash of all parameters and buffers: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


class NetworkFeatures(nn.Module):
    """A network's features by part.

    The parts of the last layer are those that the network names: ``rotation``, ``invariant`` and
    ``both``, or ``whole``. Other layers are parts under their own names; their maps are
    average-pooled, or go through ``pool``.

    Args:
        network: Backbone and heads.
        layers: Layers of the backbone; by default the last.
        grid: Average-pool maps to a grid x grid grid.
        pool: Replaces average pooling of maps (B, C, H, W); its ``repr`` identifies it in the
            cache.

    Raises:
        ConfigError: No layer is given, or one that the backbone lacks; lists the layers it has.
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
        aliases = network.backbone.aliases
        asked = (offered[-1],) if layers is None else tuple(aliases.get(n, n) for n in layers)
        self.layers = tuple(name for name in offered if name in asked)
        unknown = [name for name in asked if name not in offered]
        if unknown or not asked:
            raise ConfigError(
                f"no layers {', '.join(unknown) or 'named'}; the backbone has {', '.join(offered)}"
            )
        # Convolutions are a fifth faster on CPUs in this memory format; shapes do not change.
        self.network = network.to(memory_format=torch.channels_last)
        self.grid, self.pool = grid, pool
        self.training = network.training  # so that restoring this mode restores the network's

    @cached_property
    def fingerprint(self) -> str:
        """`weights_fingerprint` of the network, computed at the first use."""
        return weights_fingerprint(self.network)

    def only(self, layers: tuple[str, ...]) -> NetworkFeatures:
        """The same features of some of the layers."""
        return NetworkFeatures(self.network, layers, self.grid, self.pool)

    def layer_of(self, part: str) -> str:
        """The layer that a part belongs to."""
        last = self.network.backbone.layers[-1]
        return part if part in self.layers and part != last else last

    @torch.no_grad()
    def widths(self, image_size: int) -> dict[str, int]:
        """The width of each part, measured on one blank image of ``image_size`` pixels."""
        device = next(self.network.parameters()).device
        self.eval()
        blank = torch.zeros(1, 3, image_size, image_size, device=device)
        return {name: values[0].numel() for name, values in self(blank).items()}

    def cache_key(
        self,
        layer: str,
        images: ImageSet,
        crop: DataConfig,
        turns: Tensor | None = None,
        *,
        squashed: bool = False,
    ) -> str:
        """The key of a layer's features in a `FeatureCache`.

        Args:
            layer: One of the layers.
            images: The images.
            crop: Crop and normalisation settings.
            turns: (N,) quarter turns, one per image; None for upright images.
            squashed: Show whole images, squashed, in place of centre crops.
        """
        about: dict[str, Any] = {
            "weights": self.fingerprint,
            "layer": layer,
            "grid": None if layer == self.network.backbone.layers[-1] else self._pooling,
            "images": images.fingerprint(),
            # Files of the same name and size are other images in another folder, or once they were
            # turned in place.
            "files": images.files_fingerprint() if isinstance(images, FileImages) else None,
            "image_size": crop.image_size,
            "eval_crop": crop.centre_crop,
            "mean": crop.mean,
            "std": crop.std,
        }
        if squashed:
            about["eval_crop"] = "squashed"
        return FeatureCache.key(about, turns)

    @property
    def _pooling(self) -> int | str:
        return self.grid if self.pool is None else repr(self.pool)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) images to part to (B, d)."""
        found = self.network.features(images, self.layers)
        if self.pool is not None:
            return {name: self.pool(values) for name, values in found.items()}
        return {name: pooled(values, self.grid) for name, values in found.items()}


class Pixels(nn.Module):
    """The pixels of the centre crop: a baseline that any method should beat."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) to (B, 3*S*S)."""
        return {"pixels": images.flatten(1)}


def choose_part(
    network: Network, half: str | None = None, layer: str | None = None
) -> tuple[NetworkFeatures, str]:
    """The part of a network's features that a user asks for.

    Args:
        network: Backbone and heads.
        half: ``invariant`` (the default if the network has halves), ``rotation`` or ``both``.
        layer: A whole layer, by name, instead of the last; maps are average-pooled.

    Returns:
        The features, and the name of the part among them.

    Raises:
        ConfigError: The network has no halves or no such layer, or both are asked for.
    """
    parts = list(network.parts(torch.zeros(1, network.backbone.feature_dim)))
    if layer is not None:
        if half is not None:
            raise ConfigError(
                "--half is a part of the last layer: give --half or --layer, not both"
            )
        features = NetworkFeatures(network, (layer,))
        if layer != network.backbone.layers[-1]:
            return features, layer
        return features, "both" if "both" in parts else parts[0]
    chosen = half or ("invariant" if "invariant" in parts else parts[0])
    if chosen not in parts:
        raise ConfigError(f"--half {chosen}: this run's features have no halves; leave --half out")
    return NetworkFeatures(network), chosen
