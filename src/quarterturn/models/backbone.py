"""The base class of backbones: a chain of named stages, some of which are feature layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Backbone(nn.Module):
    """A chain of stages that can stop early and return intermediate features.

    Args:
        stages: (name, module) of each stage, in order.
        layers: Names of the stages available as feature layers, in order.
        feature_dim: D, width of the last stage's output.
        aliases: Other names of layers, such as those of another code, to the layers' own.
    """

    def __init__(
        self,
        stages: Sequence[tuple[str, nn.Module]],
        layers: Sequence[str],
        feature_dim: int,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(dict(stages))
        self.layers = tuple(layers)
        self.feature_dim = feature_dim
        self.aliases = dict(aliases or {})

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised images to (B, D) features."""
        for stage in self.stages.values():
            images = stage(images)
        return images

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Outputs of named layers; stages after the last of them are not computed.

        Args:
            images: (B, 3, S, S), normalised.
            layers: Names from ``self.layers``, or aliases of them.

        Returns:
            Name to (B, channels, height, width) or (B, width), in the chain's order.

        Raises:
            ValueError: The backbone lacks a layer; lists those it has.
        """
        self.refuse_unknown(layers)
        if self.aliases and not self.aliases.keys().isdisjoint(layers):
            by_layer = self.features(images, [self.aliases.get(name, name) for name in layers])
            return {name: by_layer[self.aliases.get(name, name)] for name in layers}
        found: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            if len(found) == len(set(layers)):
                break
            images = stage(images)
            if name in layers:
                found[name] = images
        return found

    @property
    def parting_layers(self) -> tuple[str, ...]:
        """The layers at which the backbone can be parted, for `before`."""
        return tuple(name for name in self.layers if name in self.stages)

    def before(self, layer: str | None) -> list[nn.Module | nn.Parameter]:
        """Everything that comes before a layer: modules, and parameters of larger modules.

        Args:
            layer: One of the `parting_layers`; None for the end.
        """
        stages: list[nn.Module | nn.Parameter] = list(self.stages.values())
        return stages if layer is None else stages[: list(self.stages).index(layer)]

    def depths(self) -> dict[str, int]:
        """Parameters by name to the number of their stage, from 0 at the images."""
        named = {f"stages.{n}": [*s.named_parameters()] for n, s in self.stages.items()}
        trained = {stage: parameters for stage, parameters in named.items() if parameters}
        return {
            f"{stage}.{name}": depth
            for depth, (stage, parameters) in enumerate(trained.items())
            for name, _ in parameters
        }

    def refuse_unknown(self, layers: Sequence[str]) -> None:
        """Raise the ``ValueError`` of `features` if the backbone lacks one of the layers."""
        if unknown := [name for name in layers if name not in (*self.layers, *self.aliases)]:
            raise ValueError(f"no layers {unknown}; this backbone has {', '.join(self.layers)}")


@contextmanager
def running_statistics_kept(network: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch norm as they are; in training a batch has its own."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    tracking = [m for m in norms if m.training and m.track_running_stats]
    try:
        for norm in tracking:
            norm.track_running_stats = False
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True


def pooled(values: Tensor, grid: int = 1) -> Tensor:
    """Maps (B, C, H, W) average-pooled to (B, C*grid*grid); vectors unchanged.

    A map smaller than the grid is not pooled.
    """
    if values.ndim == 2:
        return values
    side = (min(grid, values.shape[2]), min(grid, values.shape[3]))
    return F.adaptive_avg_pool2d(values, side).flatten(1)
