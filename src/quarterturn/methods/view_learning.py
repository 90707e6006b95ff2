"""Learning from several views of each image, compared within a batch.

Shapes: B images in V full views of S pixels a side and M small ones; L = V + M; D feature width; E
embedding width; N images in the data set.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from quarterturn.data.batches import Batch
from quarterturn.data.colour import ColourLaw
from quarterturn.data.view_batches import ViewBatch
from quarterturn.data.view_law import ViewLaw
from quarterturn.losses.contrast import contrastive_loss
from quarterturn.losses.invariance import invariance_loss
from quarterturn.losses.rotation import predicted_turns, pu_weights, turn_loss
from quarterturn.losses.weights import late_weights
from quarterturn.methods.balance import PretextBalance, build_balance
from quarterturn.methods.base import Method, Network, StepOutput, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.view_options import ViewOptions
from quarterturn.models.backbone import Backbone, running_statistics_kept
from quarterturn.models.heads import EmbeddingHead, ProjectionHead


class ViewNetwork(Network):
    """A backbone with an embedding of every view, and perhaps a rotation classifier.

    Args:
        backbone: Images to features.
        embedding_dim: E.
        head_width: Between the two layers of the embedding's head; None for one layer.
        predicts_turns: Whether there is a rotation classifier.
        rotation_scale: Take cosines as rotation logits, for a loss that scales them by so much;
            without, they are linear.
    """

    embedding_head: EmbeddingHead | ProjectionHead

    def __init__(
        self,
        backbone: Backbone,
        embedding_dim: int,
        *,
        head_width: int | None = 512,
        predicts_turns: bool = True,
        rotation_scale: float | None = None,
    ) -> None:
        super().__init__(backbone)
        width = backbone.feature_dim // 2 if self.decoupled else backbone.feature_dim
        if predicts_turns:
            self.set_rotation_head(width, rotation_scale)
        if head_width is None:
            self.embedding_head = EmbeddingHead(width, embedding_dim)
        else:
            self.embedding_head = ProjectionHead(width, embedding_dim, head_width)

    def forward(
        self, full: Tensor, small: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """(B, V, 3, S, S) and (B, M, 3, s, s) views to what the losses take.

        Batch norm sees views of one size at a time, and keeps running statistics of the full ones.

        Returns:
            (B, L, 4) rotation logits, or None; (B, L, D') features, which are the invariant half or
            the whole; (B, L, E) embeddings.
        """
        features = self.backbone(full.flatten(0, 1)).unflatten(0, full.shape[:2])  # (B, V, D)
        if small is not None:
            with running_statistics_kept(self.backbone):
                of_small = self.backbone(small.flatten(0, 1)).unflatten(0, small.shape[:2])
            features = torch.cat([features, of_small], dim=1)
        parts = self.parts(features)
        compared = parts.get("invariant", features)
        logits = None
        if self.rotation_head is not None:
            logits = self.rotation_head(parts.get("rotation", features))
        return logits, compared, self.embedding_head(compared)


class ViewLearning(Method):
    """Tell an image's views from those of all others, and perhaps predict their turns.

    Args:
        network: A `ViewNetwork`.
        views: Which views are drawn.
        term_weights: Weights of the instance loss and, where there are any, of the rotation loss
            and of the invariance loss between small views, which are then one crop in several
            turns.
        temperature: Divides the cosines of the instance loss.
        p_upright: (N, 4) probabilities that the copies look upright, on the device of the batches,
            or None for weights of 1.
        gamma: Exponent of `pu_weights`.
        noise_aware_from: Fraction of the epochs after which ``p_upright`` weights the rotation
            loss.
        balance: Margins and late weights, where classes are unequal; none by default.
        gather_own_first: Rows of all processes, this one's first, with gradients.
        embed_images: The network to (N, E) embeddings of the images to learn from; needed where
            their clusters are balanced.
    """

    network: ViewNetwork
    views: ViewLaw

    def __init__(
        self,
        network: ViewNetwork,
        views: ViewLaw,
        *,
        term_weights: dict[str, float],
        temperature: float = 0.2,
        p_upright: Tensor | None = None,
        gamma: float = 2.0,
        noise_aware_from: float = 0.0,
        balance: PretextBalance | None = None,
        gather_own_first: Callable[[Tensor], Tensor] = lambda rows: rows,
        embed_images: Callable[[Network], Tensor] | None = None,
    ) -> None:
        self.network, self.views = network, views
        self.term_weights, self.temperature = term_weights, temperature
        self.view_weights = None if p_upright is None else pu_weights(p_upright, gamma)
        self.noise_aware_from = noise_aware_from
        self.balance = balance or PretextBalance()
        self.gather_own_first, self.embed_images = gather_own_first, embed_images

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The loss terms of a batch of views."""
        assert isinstance(batch, ViewBatch)
        logits, compared, embeddings = network(batch.images, batch.small)
        margins, image_weights = self.balance.image_margins_and_weights(batch.indices, progress)
        terms, predicted = {}, None
        if logits is not None:
            predicted = predicted_turns(logits, batch.turns)
            weights = late_weights(self.view_weights, self.noise_aware_from, progress)  # (N, 4)
            terms["rotation"] = turn_loss(
                logits,
                batch.turns,
                None if weights is None else weights[batch.indices].gather(1, batch.turns),
                **self.balance.rotation_arguments(batch.indices, progress, batch.turns),
            )
        if "invariance" in self.term_weights:
            of_small = compared[:, self.views.num_full :]
            terms["invariance"] = invariance_loss(of_small, image_weights)
        terms["instance"] = contrastive_loss(
            embeddings,
            self.gather_own_first(embeddings),
            temperature=self.temperature,
            margins=margins,
            weights=image_weights,
        )
        return StepOutput(terms, predicted=predicted)

    def amounts(self, batch: Batch, progress: float = 0.0) -> dict[str, Tensor]:
        """See `Method.amounts`."""
        assert isinstance(batch, ViewBatch)
        images = torch.full((), float(len(batch)), device=batch.images.device)
        weights = self.balance.amounts(batch.indices, progress, batch.turns)
        return {name: weights.get(name, images) for name in self.term_weights}

    def embedding_rows(self) -> Tensor | None:
        """(N, E) embeddings of all images, by a pass over them; none are kept between steps."""
        return None if self.embed_images is None else self.embed_images(self.network)


def head_width_of(options: ViewOptions) -> int | None:
    """Width between the layers of the head; None where it has but one."""
    return options.head_width if options.embedding_head == "mlp" else None


def view_law(config: Config, *, turned: bool) -> ViewLaw:
    """Which views a configuration asks for.

    Args:
        config: The whole configuration.
        turned: Whether views are turned.
    """
    options = config.method_as(ViewOptions)
    return ViewLaw(
        num_full=options.num_views,
        num_small=options.num_small_views,
        small_side=options.small_side(config.data.image_size),
        turned=turned,
        same_crop=options.same_crop,
        same_turn=options.same_turn,
        colour=ColourLaw(
            jitter=options.colour_jitter,
            brightness=options.brightness,
            contrast=options.contrast,
            saturation=options.saturation,
            hue=options.hue,
            grey=options.grey,
            blur=options.blur,
        ),
    )


def build_view_learning(
    config: Config,
    network: Network,
    facts: TrainingFacts,
    term_weights: dict[str, float],
    *,
    turned: bool,
) -> ViewLearning:
    """A method that learns from views, as a configuration says.

    Args:
        config: The whole configuration.
        network: A `ViewNetwork`, on its device.
        facts: What is known of the images to learn from.
        term_weights: As of `ViewLearning`.
        turned: Whether views are turned.
    """
    assert isinstance(network, ViewNetwork)
    return ViewLearning(
        network,
        view_law(config, turned=turned),
        term_weights=term_weights,
        temperature=config.method_as(ViewOptions).temperature,
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
        gather_own_first=facts.gather_own_first,
        embed_images=facts.embed_images,
    )
