"""Rotation Feature Decoupling (Feng, Xu, Tao, CVPR 2019).

Half of the feature predicts the rotation; the other half is made equal over the rotations and tells
every image from every other.

Shapes: B images in R = 4 copies; D feature width; E embedding width; N images in the data set.
"""

from __future__ import annotations

from torch import Tensor, nn

from quarterturn.data.batches import Batch
from quarterturn.errors import ConfigError
from quarterturn.losses.invariance import invariance_loss
from quarterturn.losses.rotation import predicted_turns, pu_weights, rotation_loss
from quarterturn.losses.weights import late_weights
from quarterturn.methods.balance import PretextBalance, build_balance
from quarterturn.methods.base import Method, Network, StepOutput, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.decoupling_options import DecouplingOptions
from quarterturn.methods.discrimination import InstanceDiscrimination, build_discrimination
from quarterturn.models.backbone import Backbone
from quarterturn.models.heads import CosineHead, EmbeddingHead, LinearHead, split_halves


class DecoupledNetwork(Network):
    """A backbone whose feature is split in a rotation half and an invariant half.

    Args:
        backbone: Images to features of even width D.
        embedding_dim: E.
        rotation_scale: Take cosines as rotation logits, for a loss that scales them by so much;
            without, they are linear.

    Raises:
        ConfigError: D is odd.
    """

    rotation_head: LinearHead | CosineHead
    embedding_head: EmbeddingHead
    decoupled = True
    embeds_all_turns = True

    def __init__(
        self, backbone: Backbone, embedding_dim: int, *, rotation_scale: float | None = None
    ) -> None:
        super().__init__(backbone)
        if backbone.feature_dim % 2:
            raise ConfigError(
                f"the backbone's feature has odd width {backbone.feature_dim}, which cannot be "
                "halved; --method rotnet or instance takes it whole"
            )
        half = backbone.feature_dim // 2
        self.set_rotation_head(half, rotation_scale)
        self.embedding_head = EmbeddingHead(half, embedding_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, S, S) to rotation logits, invariant halves and embeddings."""
        features = self.features_of_turns(images)  # (B, 4, D)
        rotation, invariant = split_halves(features)  # (B, 4, D/2) each
        logits = self.rotation_head(rotation)  # (B, 4, 4)
        embedding = self.embedding_head(invariant.mean(dim=1))  # (B, E)
        return logits, invariant, embedding


class Decoupling(Method):
    """The paper's three losses.

    Args:
        network: A `DecoupledNetwork`.
        discrimination: The instance loss with its bank.
        rotation_weight: Weight of the rotation loss; likewise the next two.
        invariance_weight: Weight of the invariance loss.
        instance_weight: Weight of the instance loss.
        p_upright: (N, 4) probabilities that the copies look upright, on the device of the batches,
            or None for weights of 1.
        gamma: Exponent of `pu_weights`.
        noise_aware_from: Fraction of the epochs after which ``p_upright`` weights the rotation
            loss.
        balance: Margins and late weights, where classes are unequal; none by default.
    """

    def __init__(
        self,
        network: DecoupledNetwork,
        discrimination: InstanceDiscrimination,
        *,
        rotation_weight: float = 1.0,
        invariance_weight: float = 1.0,
        instance_weight: float = 1.0,
        p_upright: Tensor | None = None,
        gamma: float = 2.0,
        noise_aware_from: float = 0.0,
        balance: PretextBalance | None = None,
    ) -> None:
        self.network = network
        self.discrimination = discrimination
        self.term_weights = {
            "rotation": rotation_weight,
            "invariance": invariance_weight,
            "instance": instance_weight,
        }
        self.copy_weights = None if p_upright is None else pu_weights(p_upright, gamma)
        self.noise_aware_from = noise_aware_from
        self.balance = balance or PretextBalance()

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The three loss terms of a batch."""
        logits, invariant, embedding = network(batch.images)
        weights = late_weights(self.copy_weights, self.noise_aware_from, progress)  # (N, 4)
        assert self.discrimination is not None
        margins, image_weights = self.balance.image_margins_and_weights(batch.indices, progress)
        instance, normalizer = self.discrimination.loss(
            embedding, batch.indices, step, margins, image_weights
        )
        terms = {
            "rotation": rotation_loss(
                logits,
                None if weights is None else weights[batch.indices],
                **self.balance.rotation_arguments(batch.indices, progress),
            ),
            "invariance": invariance_loss(invariant, image_weights),
            "instance": instance,
        }
        return StepOutput(terms, embedding.detach(), normalizer, predicted_turns(logits))


def build_network(config: Config, backbone: Backbone, num_classes: int) -> DecoupledNetwork:
    """See `quarterturn.methods.build.MethodModule`."""
    embedding_dim = config.method_as(DecouplingOptions).embedding_dim
    return DecoupledNetwork(backbone, embedding_dim, rotation_scale=config.rotation_scale)


def build_method(config: Config, network: Network, facts: TrainingFacts) -> Decoupling:
    """See `quarterturn.methods.build.MethodModule`."""
    assert isinstance(network, DecoupledNetwork)
    options = config.method_as(DecouplingOptions)
    return Decoupling(
        network,
        build_discrimination(config, facts.num_instances, facts.device, facts.mean_over_processes),
        rotation_weight=options.rotation_weight,
        invariance_weight=options.invariance_weight,
        instance_weight=options.instance_weight,
        p_upright=facts.p_upright_on_device,
        gamma=config.noise_aware.gamma,
        noise_aware_from=config.optimizer.noise_aware_from,
        balance=build_balance(
            config,
            p_upright=facts.p_upright,
            agnostic=facts.agnostic,
            labels=facts.labels,
            device=facts.device,
        ),
    )
