"""Things that turn images into named features, to be probed.

Shapes: B images; d width of a part.
"""

from __future__ import annotations

from functools import cached_property

import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.errors import ConfigError
from quarterturn.evaluation.store import weights_fingerprint
from quarterturn.methods.base import Network


class NetworkFeatures(nn.Module):
    """A network's features, by the names of their parts.

    The last layer is handed out by the parts that the network names: ``rotation``, ``invariant``
    and ``both``, or ``whole``. Other layers go by their own names; maps are averaged over the
    squares of a grid.

    Args:
        network: Backbone and heads.
        layers: Layers of the backbone; by default the last.
        grid: Squares a side that maps are averaged over; 1 averages the whole map.

    Raises:
        ConfigError: No layer, or one that the backbone has not; the message lists those it has.
    """

    def __init__(
        self, network: Network, layers: tuple[str, ...] | None = None, grid: int = 1
    ) -> None:
        super().__init__()
        offered = network.backbone.layers
        self.layers = (offered[-1],) if layers is None else layers
        unknown = [name for name in self.layers if name not in offered]
        if unknown or not self.layers:
            raise ConfigError(
                f"no layers {', '.join(unknown) or 'named'}; the backbone has {', '.join(offered)}"
            )
        if grid < 1:
            raise ConfigError(f"--grid is {grid}; expected at least 1")
        self.network, self.grid = network, grid

    @cached_property
    def fingerprint(self) -> str:
        """Of all weights, as they are when it is first asked for."""
        return weights_fingerprint(self.network)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) to named (B, d)."""
        backbone = self.network.backbone
        found: dict[str, Tensor] = {}
        for name, values in backbone.features(images, self.layers).items():
            if name == backbone.layers[-1]:
                found |= self.network.parts(values)
            else:
                found[name] = pooled(values, self.grid)
        return found


class Pixels(nn.Module):
    """The pixels of the centre crop, which any method has to beat."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) to (B, 3*S*S)."""
        return {"pixels": images.flatten(1)}


def pooled(values: Tensor, grid: int = 1) -> Tensor:
    """Maps (B, C, H, W) averaged over a grid of squares to (B, C*grid*grid); vectors as they are.

    A map smaller than the grid is taken whole.
    """
    if values.ndim == 2:
        return values
    side = (min(grid, values.shape[2]), min(grid, values.shape[3]))
    return F.adaptive_avg_pool2d(values, side).flatten(1)
