"""A linear rotation head on maps of a backbone that stays as it is.

Gidaris et al. train a network for it; a network that somebody has trained on other photos has
features that tell the turn already, as long as it is still known where in the image they are.

Shapes: B images; F values of all layers of an image, pooled to grids and side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quarterturn.errors import ConfigError
from quarterturn.methods.base import Method, Network, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.rotation_head_options import RotationHeadOptions
from quarterturn.models.backbone import Backbone, pooled
from quarterturn.models.heads import LinearHead
from quarterturn.rotation import rotate4

MAPS = 2
"""Layers that the head reads where none are named: the last ones that are maps."""


class RotationHeadNetwork(Network):
    """A frozen backbone, and a linear rotation head on some of its layers.

    Args:
        backbone: Images to features.
        layers: Of the backbone; by default the last two that are maps and no pools. A backbone that
            offers no maps is read at its end.
        grid: Maps are average-pooled to a grid x grid grid.
        image_size: Side of the images in pixels.

    Raises:
        ConfigError: The backbone lacks a layer; lists those it has.
    """

    rotation_head: LinearHead

    def __init__(
        self, backbone: Backbone, *, layers: tuple[str, ...], grid: int, image_size: int
    ) -> None:
        super().__init__(backbone)
        self.grid = grid
        try:
            shapes = _shapes(backbone, layers or backbone.layers, image_size)
        except ValueError as error:
            raise ConfigError(f"the rotation head reads layers: {error}") from error
        maps = [
            name
            for name, shape in shapes.items()
            if len(shape) == 3 and not name.startswith("pool")  # a pool repeats the map before it
        ]
        self.layers = layers or tuple(maps[-MAPS:]) or backbone.layers[-1:]
        blank = {name: torch.empty(1, *shapes[name], device="meta") for name in self.layers}
        width = sum(pooled(values, grid).shape[1] for values in blank.values())
        self.set_rotation_head(width, None)
        self.freeze("none")

    def turn_features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, F): what the head reads."""
        found = self.backbone.features(images, self.layers)
        return torch.cat([pooled(found[name], self.grid) for name in self.layers], dim=1)

    def features_of_turns(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 4, F): what the head reads of every image in its four rotations."""
        return self.turn_features(rotate4(images).flatten(0, 1)).unflatten(0, (-1, 4))

    def rotation_logits(self, features: Tensor) -> Tensor:
        """(..., F) to (..., 4) logits."""
        return self.rotation_head(features)

    def turn_logits(self, images: Tensor) -> Tensor:
        """See `Network.turn_logits`."""
        return self.rotation_logits(self.turn_features(images))


@torch.no_grad()
def _shapes(
    backbone: Backbone, layers: tuple[str, ...], image_size: int
) -> dict[str, tuple[int, ...]]:
    """The shapes of one image's features, by a pass over black pixels."""
    was_training = backbone.training
    device = next(backbone.parameters()).device
    found = backbone.eval().features(
        torch.zeros(1, 3, image_size, image_size, device=device), layers
    )
    backbone.train(was_training)
    return {name: tuple(values.shape[1:]) for name, values in found.items()}


def build_network(config: Config, backbone: Backbone, num_classes: int) -> RotationHeadNetwork:
    """See `quarterturn.methods.build.MethodModule`."""
    options = config.method_as(RotationHeadOptions)
    return RotationHeadNetwork(
        backbone, layers=options.layers, grid=options.grid, image_size=config.data.image_size
    )


def build_method(config: Config, network: Network, facts: TrainingFacts) -> Method:
    """Refuse: a rotation head is fitted at once, by `quarterturn.orientation.fitted_heads`."""
    raise ConfigError("a rotation head has no steps of training: quarterturn upright DATA --from")
