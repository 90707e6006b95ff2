"""RotNet: predict the rotation, on the whole feature (Gidaris, Singh, Komodakis, ICLR 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from quarterturn.data.batches import Batch
from quarterturn.losses.rotation import rotation_loss
from quarterturn.methods.base import Method, Network, StepOutput
from quarterturn.models.backbone import Backbone
from quarterturn.models.heads import LinearHead


class RotationNetwork(Network):
    """A backbone with a rotation classifier on its whole feature."""

    rotation_head: LinearHead

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.rotation_head = LinearHead(backbone.feature_dim, 4)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 4, 4) logits, copy by class."""
        return self.rotation_head(self.features_of_turns(images))


class RotNet(Method):
    """Rotation prediction alone."""

    def __init__(self, network: RotationNetwork, *, rotation_weight: float = 1.0) -> None:
        self.network = network
        self.term_weights = {"rotation": rotation_weight}

    def losses(self, network: nn.Module, batch: Batch, step: int) -> StepOutput:
        """The rotation loss of a batch."""
        return StepOutput({"rotation": rotation_loss(network(batch.images))})
