"""Barlow Twins (Zbontar, Jing, Misra, LeCun, Deny, ICML 2021).

Shapes: B images in two views; E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from quarterturn.data.batches import Batch
from quarterturn.data.view_law import ViewLaw
from quarterturn.methods.base import Method, Network, StepOutput, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.view_learning import view_law
from quarterturn.models.backbone import Backbone
from quarterturn_barlow.options import BarlowOptions


class BarlowNetwork(Network):
    """A backbone with a projector, whose values are compared over a batch.

    Args:
        backbone: Images to features.
        embedding_dim: E.
        head_width: Between the projector's two layers.
    """

    def __init__(self, backbone: Backbone, embedding_dim: int, head_width: int) -> None:
        super().__init__(backbone)
        self.projector = nn.Sequential(
            nn.Linear(backbone.feature_dim, head_width, bias=False),
            nn.BatchNorm1d(head_width),
            nn.ReLU(inplace=True),
            nn.Linear(head_width, embedding_dim),
        )

    def forward(self, views: Tensor) -> Tensor:
        """(B, 2, 3, S, S) to (B, 2, E) embeddings, which are not normalised."""
        features = self.backbone(views.flatten(0, 1))
        with torch.autocast(features.device.type, enabled=False):
            return self.projector(features.float()).unflatten(0, views.shape[:2])


def cross_correlation_loss(one: Tensor, other: Tensor, off_diagonal: float) -> Tensor:
    """The loss of Barlow Twins, equation 1, divided by E.

    Args:
        one: (B, E) embeddings of one view of each image.
        other: (B, E) those of another.
        off_diagonal: lambda.
    """
    mean, std = torch.zeros_like(one[0]), torch.ones_like(one[0])
    standardised = [
        nn.functional.batch_norm(values, mean, std, training=True, momentum=0.0)
        for values in (one, other)
    ]
    correlation = standardised[0].T @ standardised[1] / len(one)  # (E, E)
    diagonal = torch.diagonal(correlation)
    redundancy = correlation.square().sum() - diagonal.square().sum()
    return ((1 - diagonal).square().sum() + off_diagonal * redundancy) / len(diagonal)


class Barlow(Method):
    """Make the cross-correlation of two views' embeddings the identity.

    Args:
        network: A `BarlowNetwork`.
        views: Which views are drawn.
        off_diagonal: Weight of the correlations between different values.
        weight: Of the loss in the total.
        gather_own_first: Rows of all processes, with gradients.
    """

    def __init__(
        self,
        network: BarlowNetwork,
        views: ViewLaw,
        off_diagonal: float,
        weight: float,
        gather_own_first: Callable[[Tensor], Tensor],
    ) -> None:
        self.network, self.views, self.off_diagonal = network, views, off_diagonal
        self.term_weights = {"redundancy": weight}
        self.gather_own_first = gather_own_first

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The loss of a batch of views."""
        one, other = self.gather_own_first(network(batch.images)).unbind(dim=1)
        return StepOutput({"redundancy": cross_correlation_loss(one, other, self.off_diagonal)})


def build_network(config: Config, backbone: Backbone, num_classes: int) -> BarlowNetwork:
    """See `quarterturn.methods.build.MethodModule`."""
    options = config.method_as(BarlowOptions)
    return BarlowNetwork(backbone, options.embedding_dim, options.head_width)


def build_method(config: Config, network: Network, facts: TrainingFacts) -> Barlow:
    """See `quarterturn.methods.build.MethodModule`."""
    assert isinstance(network, BarlowNetwork)
    options = config.method_as(BarlowOptions)
    views = view_law(config, turned=False)
    weight = options.instance_weight
    return Barlow(network, views, options.off_diagonal, weight, facts.gather_own_first)
