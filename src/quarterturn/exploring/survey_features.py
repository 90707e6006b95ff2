"""What is known of every image of a collection, from one pass over its files.

Shapes: B images in a batch; S their side; T side of a thumbnail.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.features.network_features import NetworkFeatures, pooled
from quarterturn.methods.base import Network

TURNS, THUMBNAIL = "turns", "thumbnail"
"""What there is beside the layers of the backbone."""
TURN_LOGITS = "turn logits"
"""The part of `TURNS` that is there where there is a rotation head."""
THUMBNAIL_SIDE = 64
"""T, in pixels; the crop's own side where that is smaller."""
DEPTHS = (0.4, 0.6, 0.8)
"""Layers in which an image may be odd, as shares of the backbone's depth. On photos of houses with
15 textures and a black frame among them, the first layers found fewer of these, and the last none:
it has learned the photos, and puts what is foreign somewhere amid them."""


class SurveyFeatures(NetworkFeatures):
    """A network's last layer, what it says of an image in its turns, and a thumbnail.

    In the cache each of the three is an entry like a layer's, so that one pass computes what is
    missing of them, and nothing else. The parts of `TURNS` are the rotation logits of the four
    copies (B, 16), and the `middle_layers` averaged over the copies, by which a photo that is
    stored turned is no odd one. Without a rotation head only the first copy is looked at.

    Args:
        network: Backbone and heads.
        crop: How images are normalised, which a thumbnail undoes.
        layers: The last layer, `TURNS`, `THUMBNAIL`; by default all three.
    """

    def __init__(
        self, network: Network, crop: DataConfig, layers: tuple[str, ...] | None = None
    ) -> None:
        self.last = network.backbone.layers[-1]
        super().__init__(network, (self.last,))
        self.crop = crop
        self.middle = middle_layers(network.backbone.layers)
        known = (self.last, TURNS, THUMBNAIL)
        self.layers = tuple(name for name in known if layers is None or name in layers)

    def only(self, layers: tuple[str, ...]) -> SurveyFeatures:
        """The same of some of the three."""
        return SurveyFeatures(self.network, self.crop, layers)

    def layer_of(self, part: str) -> str:
        """Which of the three a part belongs to."""
        if part == THUMBNAIL:
            return THUMBNAIL
        return TURNS if part == TURN_LOGITS or part.startswith(f"{TURNS}: ") else self.last

    def cache_key(
        self,
        layer: str,
        images: ImageSet,
        crop: DataConfig,
        turns: Tensor | None = None,
        *,
        squashed: bool = False,
    ) -> str:
        """As of any layer; thumbnails of another side are other thumbnails."""
        named = {THUMBNAIL: f"{layer} {THUMBNAIL_SIDE}", TURNS: ", ".join((layer, *self.middle))}
        return super().cache_key(named.get(layer, layer), images, crop, turns, squashed=squashed)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) images to part to (B, d); thumbnails are uint8, all else float32."""
        found: dict[str, Tensor] = {}
        if self.last in self.layers:
            found = self.network.features(images, (self.last,))
        if TURNS in self.layers:
            found |= self._of_turns(images)
        if THUMBNAIL in self.layers:
            found[THUMBNAIL] = self._thumbnails(images).flatten(1)
        return found

    def _of_turns(self, images: Tensor) -> dict[str, Tensor]:
        has_head = self.network.rotation_head is not None
        backbone = self.network.backbone
        logits, sums = [], dict.fromkeys(self.middle, torch.zeros(1, device=images.device))
        copies = range(4) if has_head else range(1)
        for k in copies:  # one copy at a time takes no more memory than the features do
            copy = torch.rot90(images, k, (-2, -1))
            layers = backbone.features(copy, (*self.middle, *([self.last] if has_head else [])))
            sums = {name: sums[name] + pooled(layers[name]) / len(copies) for name in self.middle}
            if has_head:
                logits.append(self.network.rotation_logits(layers[self.last]))
        found = {middle_part(name): values for name, values in sums.items()}
        return found | ({TURN_LOGITS: torch.stack(logits, dim=1).flatten(1)} if has_head else {})

    def _thumbnails(self, images: Tensor) -> Tensor:
        """(B, T, T, 3) uint8: the crop as the network sees it, with its own colours."""
        mean, std = (
            torch.tensor(values, device=images.device)[:, None, None]
            for values in (self.crop.mean, self.crop.std)
        )
        pixels = 255 * (images * std + mean)
        side = min(THUMBNAIL_SIDE, images.shape[-1])
        if side < images.shape[-1]:
            pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
        return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def middle_layers(offered: tuple[str, ...]) -> tuple[str, ...]:
    """The layers at `DEPTHS` of a backbone's, without its last; that one where it has no other."""
    before_last = offered[:-1] or offered
    places = [max(0, round(depth * len(offered)) - 1) for depth in DEPTHS]
    return tuple(dict.fromkeys(before_last[min(place, len(before_last) - 1)] for place in places))


def middle_part(layer: str) -> str:
    """The name of a middle layer's mean over the turns among the parts of `TURNS`."""
    return f"{TURNS}: {layer}"
