"""Decoupling by a teacher: what a trained network says of upright images, said of any turn.

The network that the training begins with is copied and kept as it is. It sees each image upright;
the network that is trained sees it in one turn a step. One half of its feature predicts the turn,
the other half has to lead to the teacher's feature by a linear map. The family of the method is
knowledge distillation (Hinton, Vinyals, Dean, 2015); this form is the project's own.

Shapes: B images; D feature width, of both networks; N images in the data set.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from quarterturn.data.batches import Batch
from quarterturn.errors import ConfigError
from quarterturn.losses.rotation import predicted_turns, pu_weights, turn_loss
from quarterturn.losses.teacher import teacher_loss
from quarterturn.losses.weights import late_weights
from quarterturn.methods.balance import PretextBalance, build_balance
from quarterturn.methods.base import Method, Network, StepOutput, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.distill_options import DistillOptions
from quarterturn.models.backbone import Backbone
from quarterturn.models.heads import CosineHead, LinearHead, split_halves
from quarterturn.randomness import integers
from quarterturn.rotation import rotate_each


class TaughtNetwork(Network):
    """A backbone whose rotation half predicts the turn, and whose invariant half the teacher.

    Args:
        backbone: Images to features of even width D.
        rotation_scale: Take cosines as rotation logits, for a loss that scales them by so much;
            without, they are linear.

    Attributes:
        projection: The invariant half to the teacher's feature.

    Raises:
        ConfigError: D is odd.
    """

    rotation_head: LinearHead | CosineHead
    decoupled = True

    def __init__(self, backbone: Backbone, *, rotation_scale: float | None = None) -> None:
        super().__init__(backbone)
        width = backbone.feature_dim
        if width % 2:
            raise ConfigError(f"the backbone's feature has odd width {width}, which has no halves")
        self.set_rotation_head(width // 2, rotation_scale)
        self.projection = LinearHead(width // 2, width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S), turned, to (B, 4) rotation logits and (B, D) the teacher's features."""
        rotation, invariant = split_halves(self.backbone(images))  # (B, D/2) each
        return self.rotation_head(rotation), self.projection(invariant)


class Distillation(Method):
    """Learn from a teacher that sees images upright, and predict the turns.

    Args:
        network: A `TaughtNetwork`.
        teacher: The backbone that the training began with, in eval mode, on the device of the
            batches. It is no part of the network, of checkpoints or of exports.
        teacher_weight: Weight of the distance from the teacher; likewise the next.
        rotation_weight: Weight of the rotation loss.
        seed: Fixes the turns.
        p_upright: (N, 4) probabilities that the copies look upright, on the device of the batches,
            or None for weights of 1.
        gamma: Exponent of `pu_weights`.
        noise_aware_from: Fraction of the epochs after which ``p_upright`` weights the rotation
            loss.
        balance: Margins and late weights, where turns or images are unequal; none by default.
    """

    def __init__(
        self,
        network: TaughtNetwork,
        teacher: nn.Module,
        *,
        teacher_weight: float = 5.0,
        rotation_weight: float = 0.4,
        seed: int = 0,
        p_upright: Tensor | None = None,
        gamma: float = 2.0,
        noise_aware_from: float = 0.0,
        balance: PretextBalance | None = None,
    ) -> None:
        self.network, self.teacher, self.seed = network, teacher, seed
        self.term_weights = {"teacher": teacher_weight, "rotation": rotation_weight}
        self.view_weights = None if p_upright is None else pu_weights(p_upright, gamma)
        self.noise_aware_from = noise_aware_from
        self.balance = balance or PretextBalance()

    def turns(self, batch: Batch) -> Tensor:
        """(B, 1) the quarter turns of a batch: functions of seed, epoch and image."""
        return integers(4, self.seed, "turn", batch.epoch, batch.indices)[:, None]

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The two loss terms of a batch."""
        turns = self.turns(batch)
        with torch.no_grad():
            target = self.teacher(batch.images)  # (B, D)
        logits, predicted = network(rotate_each(batch.images, turns[:, 0]))
        weights = late_weights(self.view_weights, self.noise_aware_from, progress)  # (N, 4)
        rotation = turn_loss(
            logits[:, None],
            turns,
            None if weights is None else weights[batch.indices].gather(1, turns),
            **self.balance.rotation_arguments(batch.indices, progress, turns),
        )
        return StepOutput(
            {"teacher": teacher_loss(predicted, target), "rotation": rotation},
            predicted=predicted_turns(logits[:, None], turns),
        )

    def amounts(self, batch: Batch, progress: float = 0.0) -> dict[str, Tensor]:
        """See `Method.amounts`."""
        images = torch.full((), float(len(batch)), device=batch.images.device)
        weights = self.balance.amounts(batch.indices, progress, self.turns(batch))
        return {name: weights.get(name, images) for name in self.term_weights}


def build_network(config: Config, backbone: Backbone, num_classes: int) -> TaughtNetwork:
    """See `quarterturn.methods.build.MethodModule`."""
    return TaughtNetwork(backbone, rotation_scale=config.rotation_scale)


def build_method(config: Config, network: Network, facts: TrainingFacts) -> Distillation:
    """See `quarterturn.methods.build.MethodModule`."""
    assert isinstance(network, TaughtNetwork)
    if facts.start is None:
        raise ConfigError("--method distill learns from trained weights: give --from")
    options = config.method_as(DistillOptions)
    teacher: Any = copy.deepcopy(facts.start.backbone).requires_grad_(False).eval()
    return Distillation(
        network,
        teacher.to(facts.device).to(memory_format=torch.channels_last),
        teacher_weight=options.teacher_weight,
        rotation_weight=options.rotation_weight,
        seed=config.run.seed,
        p_upright=facts.p_upright_on_device,
        gamma=config.noise_aware.gamma,
        noise_aware_from=config.optimizer.noise_aware_from,
        balance=build_balance(
            config, p_upright=facts.p_upright, agnostic=facts.agnostic, device=facts.device
        ),
    )
