"""RotNet: predict the rotation, on the whole feature (Gidaris, Singh, Komodakis, ICLR 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from quarterturn.data.batches import Batch
from quarterturn.losses.rotation import predicted_turns, pu_weights, rotation_loss
from quarterturn.losses.weights import late_weights
from quarterturn.methods.balance import PretextBalance, build_balance
from quarterturn.methods.base import Method, Network, StepOutput, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.rotnet_options import RotNetOptions
from quarterturn.models.backbone import Backbone
from quarterturn.models.heads import CosineHead, LinearHead


class RotationNetwork(Network):
    """A backbone with a rotation classifier on its whole feature.

    Args:
        backbone: Images to features.
        rotation_scale: Take cosines as logits, for a loss that scales them by so much; without,
            they are linear.
    """

    rotation_head: LinearHead | CosineHead

    def __init__(self, backbone: Backbone, *, rotation_scale: float | None = None) -> None:
        super().__init__(backbone)
        self.set_rotation_head(backbone.feature_dim, rotation_scale)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 4, 4) logits, copy by class."""
        return self.rotation_head(self.features_of_turns(images))


class RotNet(Method):
    """Rotation prediction only.

    Args:
        network: A `RotationNetwork`.
        rotation_weight: Weight of the rotation loss.
        p_upright: (N, 4) probabilities that the copies look upright, on the device of the batches,
            or None for weights of 1.
        gamma: Exponent of `pu_weights`.
        noise_aware_from: Fraction of the epochs after which ``p_upright`` weights the loss.
        balance: Margins and late weights, where turns or images are unequal; none by default.
    """

    def __init__(
        self,
        network: RotationNetwork,
        *,
        rotation_weight: float = 1.0,
        p_upright: Tensor | None = None,
        gamma: float = 2.0,
        noise_aware_from: float = 0.0,
        balance: PretextBalance | None = None,
    ) -> None:
        self.network = network
        self.term_weights = {"rotation": rotation_weight}
        self.copy_weights = None if p_upright is None else pu_weights(p_upright, gamma)
        self.noise_aware_from = noise_aware_from
        self.balance = balance or PretextBalance()

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The rotation loss of a batch."""
        weights = late_weights(self.copy_weights, self.noise_aware_from, progress)  # (N, 4)
        batch_weights = None if weights is None else weights[batch.indices]
        balance = self.balance.rotation_arguments(batch.indices, progress)
        logits = network(batch.images)
        return StepOutput(
            {"rotation": rotation_loss(logits, batch_weights, **balance)},
            predicted=predicted_turns(logits),
        )


def build_network(config: Config, backbone: Backbone, num_classes: int) -> RotationNetwork:
    """See `quarterturn.methods.build.MethodModule`."""
    return RotationNetwork(backbone, rotation_scale=config.rotation_scale)


def build_method(config: Config, network: Network, facts: TrainingFacts) -> RotNet:
    """See `quarterturn.methods.build.MethodModule`."""
    assert isinstance(network, RotationNetwork)
    return RotNet(
        network,
        rotation_weight=config.method_as(RotNetOptions).rotation_weight,
        p_upright=facts.p_upright_on_device,
        gamma=config.noise_aware.gamma,
        noise_aware_from=config.optimizer.noise_aware_from,
        balance=build_balance(
            config, p_upright=facts.p_upright, agnostic=facts.agnostic, device=facts.device
        ),
    )
