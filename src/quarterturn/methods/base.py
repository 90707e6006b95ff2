"""What every method offers to the training loop and to whoever looks at its network."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from quarterturn.data.batches import Batch
from quarterturn.data.view_law import ViewLaw
from quarterturn.errors import ConfigError
from quarterturn.methods.balance import PretextBalance
from quarterturn.methods.discrimination import InstanceDiscrimination
from quarterturn.models.backbone import Backbone
from quarterturn.models.heads import (
    CosineHead,
    EmbeddingHead,
    LinearHead,
    ProjectionHead,
    split_halves,
)
from quarterturn.rotation import rotate4

HEADS = ("rotation_head", "embedding_head")


@dataclass(frozen=True)
class TrainingFacts:
    """What a method may want to know of the images that it learns from.

    Attributes:
        num_instances: N, their number.
        p_upright: (N, 4) probabilities that the copies look upright, on the CPU, or None.
        agnostic: (N,) scores from 0 (the turn is clear) to 1 (there is no "up"), or None.
        labels: (N,) int64 classes, where they are counted, or None.
        class_counts: (C,) images of each class, for a method that learns from labels, or None.
        start: The network that the training begins with, where it does not begin from scratch.
        device: Where the network is, and where the method keeps what it needs in a step.
        mean_over_processes: Averages a scalar over all processes.
        gather_own_first: Rows of all processes, this one's first, with gradients.
        embed_images: A network to (N, E) embeddings of the images, by a pass over them; None where
            none can be made.
    """

    num_instances: int
    p_upright: Tensor | None = None
    agnostic: Tensor | None = None
    labels: Tensor | None = None
    class_counts: Tensor | None = None
    start: Network | None = None
    device: torch.device | str = "cpu"
    mean_over_processes: Callable[[Tensor], Tensor] = lambda value: value
    gather_own_first: Callable[[Tensor], Tensor] = lambda rows: rows
    embed_images: Callable[[Network], Tensor] | None = None

    @property
    def p_upright_on_device(self) -> Tensor | None:
        """``p_upright`` where the batches are."""
        return None if self.p_upright is None else self.p_upright.to(self.device)


@dataclass(frozen=True)
class StepOutput:
    """What one batch gives.

    Attributes:
        terms: Named scalar losses, each a mean over the batch's images, not yet times its
            `Method.term_weights`.
        embeddings: (B, E) for the memory bank, detached; None for methods without one.
        normalizer: Z of the NCE loss where this step has estimated it; else None.
        predicted: (B, L) 1 for each view whose turn is predicted, else 0, detached; None without a
            rotation head.
    """

    terms: dict[str, Tensor]
    embeddings: Tensor | None = None
    normalizer: Tensor | None = None
    predicted: Tensor | None = None


class Network(nn.Module):
    """A backbone with the heads of a method.

    Attributes:
        backbone: Images to features of width D.
        rotation_head: Features to four rotation logits, or None.
        rotation_scale: Multiplies them where they are cosines, for probabilities.
        embedding_head: Features to embeddings, or None.
        decoupled: Whether the features have a rotation half and an invariant half.
        frozen: Parts of the backbone that stay in eval mode; see `freeze`.
        embeds_all_turns: Whether an embedding is of the mean feature of all four copies of an
            image, rather than of one view.
    """

    rotation_head: LinearHead | CosineHead | None
    rotation_scale = 1.0
    embedding_head: EmbeddingHead | ProjectionHead | None
    decoupled = False
    embeds_all_turns = False

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.rotation_head = None
        self.embedding_head = None
        self.frozen: list[nn.Module] = []

    def freeze(self, trained: str, *, statistics: bool = False) -> None:
        """Keep a part of the backbone as it is while the rest is trained.

        Args:
            trained: What of the backbone is trained: ``whole``, ``none``, or the name of a layer,
                from which on it is. What is not trained keeps its running statistics too.
            statistics: Keep those of all of the backbone.

        Raises:
            ConfigError: ``trained`` names no layer at which the backbone can be parted.
        """
        if trained != "whole":
            names = self.backbone.parting_layers
            if trained not in ("none", *names):
                layers = f"none, or a layer of the backbone: {', '.join(names)}"
                possible = layers if names else "or none"
                raise ConfigError(f"--trained is {trained}; expected whole, {possible}")
            for part in self.backbone.before(None if trained == "none" else trained):
                part.requires_grad_(False)
                self.frozen += [part] if isinstance(part, nn.Module) else []
        if statistics:
            self.frozen += [m for m in self.backbone.modules() if isinstance(m, _BatchNorm)]

    def train(self, mode: bool = True) -> Self:
        """Training mode, for what is trained."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def depths(self) -> dict[str, int]:
        """The backbone's parameters by name to how deep they lie; see `Backbone.depths`."""
        return {f"backbone.{name}": depth for name, depth in self.backbone.depths().items()}

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads that this network has."""
        return tuple(name for name in HEADS if getattr(self, name) is not None)

    def keep_heads(self, names: Collection[str]) -> None:
        """Drop the heads that are not among these: weights from elsewhere may come without."""
        for name in set(self.heads) - set(names):
            setattr(self, name, None)

    def set_rotation_head(self, in_features: int, scale: float | None) -> None:
        """A linear rotation classifier, or one of cosines that are multiplied by a scale."""
        if scale is None:
            self.rotation_head = LinearHead(in_features, 4)
        else:
            self.rotation_head, self.rotation_scale = CosineHead(in_features, 4), scale

    def features_of_turns(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 4, D): the features of every image in its four rotations."""
        copies = rotate4(images).flatten(0, 1)  # (B*4, 3, S, S): one batch for batch norm
        return self.backbone(copies).unflatten(0, (-1, 4))

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """(B, 3, S, S) to the features of named layers; of the last layer, to its `parts`.

        Raises:
            ValueError: A layer that the backbone has not; the message lists those it has.
        """
        found: dict[str, Tensor] = {}
        for name, values in self.backbone.features(images, layers).items():
            last = name == self.backbone.layers[-1]
            found |= self.parts(values) if last else {name: values}
        return found

    def parts(self, features: Tensor) -> dict[str, Tensor]:
        """The features by the names a user knows: both halves and their union, or the whole."""
        if not self.decoupled:
            return {"whole": features}
        rotation, invariant = split_halves(features)
        return {"rotation": rotation, "invariant": invariant, "both": features}

    def rotation_logits(self, features: Tensor) -> Tensor:
        """(..., D) features to (..., 4) logits, by the part that the rotation head reads."""
        assert self.rotation_head is not None
        parts = self.parts(features)
        return self.rotation_scale * self.rotation_head(parts.get("rotation", features))

    def turn_logits(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 4) rotation logits of images as they are."""
        return self.rotation_logits(self.backbone(images))

    def embed(self, features: Tensor) -> Tensor:
        """(B, D) features to (B, E) embeddings, by the part that the embedding head reads."""
        assert self.embedding_head is not None
        parts = self.parts(features)
        return self.embedding_head(parts.get("invariant", features))

    def head_outputs(self, features: Tensor) -> dict[str, Tensor]:
        """(B, D) features to the output of each of the `heads`, by its name."""
        compute = {"rotation_head": self.rotation_logits, "embedding_head": self.embed}
        return {name: compute[name](features) for name in self.heads if name in compute}


class Method:
    """A network, and how to learn from a batch.

    Attributes:
        network: What is trained.
        term_weights: Weight of each loss term in the total.
        discrimination: The instance loss with its memory bank, or None.
        reads_labels: Whether batches must bring labels.
        balance: Margins and late weights of the pretext task, where it has any.
        views: Which views of each image a batch brings; None for batches of one crop of each.
    """

    network: Network
    term_weights: dict[str, float]
    discrimination: InstanceDiscrimination | None = None
    reads_labels = False
    balance = PretextBalance()
    views: ViewLaw | None = None

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The loss terms of a batch; changes no state.

        Args:
            network: ``self.network``, perhaps wrapped for several processes.
            batch: Images on the device.
            step: Steps made since the beginning of the run.
            progress: Fraction of the schedule's epochs that are done, in whole epochs; see
                `quarterturn.losses.weights.late_weights`.
        """
        raise NotImplementedError

    def amounts(self, batch: Batch, progress: float = 0.0) -> dict[str, Tensor]:
        """What each of the `losses` terms is divided by: the images, or the sum of their weights.

        Means over the parts of a batch are put together by it.

        Args:
            batch: As for `losses`.
            progress: Likewise.

        Returns:
            Scalars on the device, by the names of ``term_weights``.
        """
        images = torch.full((), float(len(batch)), device=batch.images.device)
        weights = self.balance.amounts(batch.indices, progress)
        return {name: weights.get(name, images) for name in self.term_weights}

    def before_epoch(self, epoch: int, epochs: int) -> dict[str, Any]:
        """Make ready for an epoch.

        Args:
            epoch: Its number, from 0 where the schedule begins.
            epochs: Epochs in the schedule: in the whole run, unless it has ``restarts``.

        Returns:
            What has come into force with it, as plain values for the log; empty for nothing.
        """
        return self.balance.before_epoch(epoch, epochs, self.embedding_rows)

    def embedding_rows(self) -> Tensor | None:
        """(N, E) embeddings of all images, which `before_epoch` may cluster; None without any."""
        return None if self.discrimination is None else self.discrimination.bank.rows

    def after_step(
        self, indices: Tensor, embeddings: Tensor, normalizer: Tensor | None = None
    ) -> None:
        """Update what is not learned by gradients: the memory bank, where there is one.

        Args:
            indices: (B,) numbers of the images, gathered over all processes.
            embeddings: (B, E) their embeddings, gathered likewise.
            normalizer: Z, where this step has estimated it.
        """
        if self.discrimination is not None:
            self.discrimination.after_step(indices, embeddings, normalizer)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the network."""
        bank = {} if self.discrimination is None else self.discrimination.state_dict()
        return bank | self.balance.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        if self.discrimination is not None:
            self.discrimination.load_state_dict(state)
        self.balance.load_state_dict(state)
