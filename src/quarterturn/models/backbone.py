"""What every backbone is: an ordered chain of stages, some of whose outputs have names."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Backbone(nn.Module):
    """A chain of stages that can stop early and hand out what it has.

    Args:
        stages: The chain, in order, as (name, module).
        layers: The names of stages that are offered as features, in order.
        feature_dim: D, width of the last stage's output.
    """

    def __init__(
        self, stages: Sequence[tuple[str, nn.Module]], layers: Sequence[str], feature_dim: int
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(dict(stages))
        self.layers = tuple(layers)
        self.feature_dim = feature_dim

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) normalised images to (B, D) features."""
        for stage in self.stages.values():
            images = stage(images)
        return images

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Outputs of named layers, computing nothing beyond the last of them.

        Args:
            images: (B, 3, S, S), normalised.
            layers: Names out of ``self.layers``.

        Returns:
            Name to (B, channels, height, width) or (B, width), in the chain's order.

        Raises:
            ValueError: A layer that this backbone has not; the message lists those it has.
        """
        self.refuse_unknown(layers)
        found: dict[str, Tensor] = {}
        for name, stage in self.stages.items():
            if len(found) == len(set(layers)):
                break
            images = stage(images)
            if name in layers:
                found[name] = images
        return found

    def refuse_unknown(self, layers: Sequence[str]) -> None:
        """Raise the ``ValueError`` of `features` if this backbone has not all of these layers."""
        if unknown := [name for name in layers if name not in self.layers]:
            raise ValueError(f"no layers {unknown}; this backbone has {', '.join(self.layers)}")
