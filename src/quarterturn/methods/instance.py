"""Instance discrimination only, without turns (Wu, Xiong, Yu, Lin, CVPR 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from quarterturn.data.batches import Batch
from quarterturn.methods.balance import PretextBalance, build_balance
from quarterturn.methods.base import Method, Network, StepOutput, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.discrimination import InstanceDiscrimination, build_discrimination
from quarterturn.methods.instance_options import InstanceOptions
from quarterturn.models.backbone import Backbone
from quarterturn.models.heads import EmbeddingHead


class InstanceNetwork(Network):
    """A backbone with an embedding of its whole feature."""

    embedding_head: EmbeddingHead

    def __init__(self, backbone: Backbone, embedding_dim: int) -> None:
        super().__init__(backbone)
        self.embedding_head = EmbeddingHead(backbone.feature_dim, embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, E)."""
        return self.embedding_head(self.backbone(images))


class Instance(Method):
    """Only the instance loss, one upright view an image."""

    def __init__(
        self,
        network: InstanceNetwork,
        discrimination: InstanceDiscrimination,
        *,
        instance_weight: float = 1.0,
        balance: PretextBalance | None = None,
    ) -> None:
        self.network = network
        self.discrimination = discrimination
        self.term_weights = {"instance": instance_weight}
        self.balance = balance or PretextBalance()

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The instance loss of a batch."""
        embedding = network(batch.images)
        assert self.discrimination is not None
        margins_and_weights = self.balance.image_margins_and_weights(batch.indices, progress)
        loss, normalizer = self.discrimination.loss(
            embedding, batch.indices, step, *margins_and_weights
        )
        return StepOutput({"instance": loss}, embedding.detach(), normalizer)


def build_network(config: Config, backbone: Backbone, num_classes: int) -> InstanceNetwork:
    """See `quarterturn.methods.build.MethodModule`."""
    return InstanceNetwork(backbone, config.method_as(InstanceOptions).embedding_dim)


def build_method(config: Config, network: Network, facts: TrainingFacts) -> Instance:
    """See `quarterturn.methods.build.MethodModule`."""
    assert isinstance(network, InstanceNetwork)
    return Instance(
        network,
        build_discrimination(config, facts.num_instances, facts.device, facts.mean_over_processes),
        instance_weight=config.method_as(InstanceOptions).instance_weight,
        balance=build_balance(config, labels=facts.labels, device=facts.device),
    )
