"""Imbalance handled in the pretext task: LDAM margins and late weights where no label is learned.

Three imbalances have a switch each: the four turns, which images without an "up" make unequal;
images without an "up" against the others; and kinds of images, by clusters of their embeddings.

Shapes: N images; B in a batch; R = 4 copies of each; C classes or clusters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quarterturn.errors import ConfigError
from quarterturn.losses.weights import late_weights
from quarterturn.methods.class_balance import Balance
from quarterturn.methods.configuration import Config
from quarterturn.methods.rotation_balance import RotationBalance, agnostic_groups, turn_counts
from quarterturn.methods.semantic_balance import SemanticBalance


@dataclass
class PretextBalance:
    """What is balanced in a pretext task; by default nothing.

    Attributes:
        rotation: In the rotation loss, or None.
        semantic: In the instance and invariance losses, or None.
        start: Fraction of the epochs after which weights are in force; margins are from the start.
    """

    rotation: RotationBalance | None = None
    semantic: SemanticBalance | None = None
    start: float = 0.0

    def rotation_arguments(
        self, indices: Tensor, progress: float, turns: Tensor | None = None
    ) -> dict[str, Any]:
        """Keywords of `quarterturn.losses.rotation.rotation_loss` for a batch.

        Args:
            indices: (B,) numbers of the images.
            progress: Fraction of the epochs that are done.
            turns: (B, L) those of L views of each, for `quarterturn.losses.rotation.turn_loss`;
                None for all four.
        """
        if self.rotation is None:
            return {}
        margins, weights = self.rotation.margins(indices), self.rotation.weights(indices)  # (B, 4)
        if turns is not None:
            margins, weights = margins.gather(1, turns), weights.gather(1, turns)
        return {
            "margins": margins,
            "scale": self.rotation.scale,
            "balance": late_weights(weights, self.start, progress),
        }

    def image_margins_and_weights(
        self, indices: Tensor, progress: float
    ) -> tuple[Tensor | None, Tensor | None]:
        """(B,) margins and (B,) weights of a batch's images by their kind, where there are any."""
        if self.semantic is None or self.semantic.balance is None:
            return None, None
        assert self.semantic.class_of is not None
        kinds = self.semantic.class_of[indices]
        weights = late_weights(self.semantic.balance.weights, self.start, progress)
        return self.semantic.balance.margins[kinds], None if weights is None else weights[kinds]

    def amounts(
        self, indices: Tensor, progress: float, turns: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Sums of a batch's weights, of the terms whose mean is divided by them.

        Arguments as for `rotation_arguments`.
        """
        copy_weights = self.rotation_arguments(indices, progress, turns).get("balance")
        _, image_weights = self.image_margins_and_weights(indices, progress)
        weights = {"rotation": copy_weights, "invariance": image_weights, "instance": image_weights}
        return {name: of.float().sum() for name, of in weights.items() if of is not None}

    def before_epoch(
        self, epoch: int, epochs: int, rows: Callable[[], Tensor | None]
    ) -> dict[str, Any]:
        """Cluster anew where it is time to; counts, margins and weights that come into force.

        Args:
            epoch: Its number, from 0.
            epochs: Epochs in the whole run.
            rows: Gives (N, E) embeddings, or None for a method without any; called only where
                they are to be clustered.
        """
        fresh = False
        if self.semantic is not None and self.semantic.is_due(epoch):
            embeddings = rows()
            fresh = embeddings is not None
            if embeddings is not None:
                self.semantic.cluster(embeddings)
        now, before = epoch / epochs >= self.start, (epoch - 1) / epochs >= self.start
        if epoch > 0 and now == before and not fresh:
            return {}
        known: dict[str, Balance | None] = {}
        if self.rotation is not None:
            known = {"turns": self.rotation.turns, "agnostic": self.rotation.groups}
        if self.semantic is not None:
            known["semantic"] = self.semantic.balance
        return {
            name: balance.to_record(now) for name, balance in known.items() if balance is not None
        }

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps; nothing where no clusters are made."""
        return {} if self.semantic is None else {"semantic": self.semantic.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        if self.semantic is not None:
            self.semantic.load_state_dict(state["semantic"])


def build_balance(
    config: Config,
    *,
    p_upright: Tensor | None = None,
    agnostic: Tensor | None = None,
    labels: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> PretextBalance:
    """What a configuration balances; arguments as for `build_method`, tensors on the CPU.

    Raises:
        ConfigError: It balances what nothing is known of.
    """
    switches, settings = config.imbalance, config.balance
    turns = groups = group_of = None
    if switches.balance_turns:
        if p_upright is None:
            raise ConfigError("--balance-turns needs to know what looks upright: give --upright")
        turns = Balance.of(turn_counts(p_upright), settings, device)
    if switches.balance_agnostic:
        if agnostic is None:
            raise ConfigError(
                "--balance-agnostic needs agnostic scores: give --upright auto or an .npz file of "
                "quarterturn upright"
            )
        group_of = agnostic_groups(agnostic, switches.agnostic_threshold)
        groups = Balance.of(torch.bincount(group_of, minlength=2), settings, device)
        group_of = group_of.to(device)
    rotation = semantic = None
    if switches.balances_rotation:
        rotation = RotationBalance(settings.scale, turns, groups, group_of)
    if switches.balance_semantic:
        if switches.reads_labels and labels is None:
            raise ConfigError("--counts labels: these images have no labels to count")
        semantic = SemanticBalance(
            settings,
            num_clusters=switches.num_clusters,
            every=switches.cluster_every,
            seed=config.run.seed,
            labels=labels if switches.reads_labels else None,
            device=device,
        )
    return PretextBalance(rotation, semantic, settings.start(config.first_phase_epochs))
