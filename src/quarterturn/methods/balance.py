"""Imbalance handled in the pretext task: LDAM margins and late weights where no label is learned.

Three imbalances have a switch each: the four turns, which images without an "up" make unequal;
images without an "up" against the others; and kinds of images, by clusters of their embeddings.

Shapes: N images; B in a batch; R = 4 copies of each; C classes or clusters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor

from quarterturn.config import BalanceConfig, Config
from quarterturn.errors import ConfigError
from quarterturn.losses.ldam import ldam_margins
from quarterturn.losses.weights import effective_number_weights, late_weights


@dataclass(frozen=True)
class Balance:
    """What LDAM and re-weighting make of the sizes of some classes.

    Attributes:
        counts: (C,) images of each class, on the CPU; expected numbers need not be whole.
        margins: (C,) on the device of the batches, see `quarterturn.losses.ldam.ldam_margins`.
        weights: (C,) there too, see `quarterturn.losses.weights.effective_number_weights`.
    """

    counts: Tensor
    margins: Tensor
    weights: Tensor

    @classmethod
    def of(
        cls, counts: Tensor, settings: BalanceConfig, device: torch.device | str = "cpu"
    ) -> Balance:
        """By the configured constants; an empty class has no margin and no weight.

        One class alone is balanced: it has a margin of 0 and a weight of 1.

        Args:
            counts: (C,) on the CPU.
            settings: Constants.
            device: Where margins and weights go.
        """
        if (counts > 0).sum() < 2:
            return cls(counts, torch.zeros(len(counts)).to(device), (counts > 0).float().to(device))
        return cls(
            counts,
            ldam_margins(counts, settings.max_margin, leave_out_empty=True).to(device),
            effective_number_weights(counts, settings.beta, leave_out_empty=True).to(device),
        )

    def told(self, in_force: bool) -> dict[str, Any]:
        """Plain values for the log."""
        weights = self.weights.tolist() if in_force else None
        return {
            "counts": self.counts.tolist(), "margins": self.margins.tolist(), "weights": weights,
        }  # fmt: skip


def turn_counts(p_upright: Tensor) -> Tensor:
    """(4,) expected images of each turn, where a copy that looks upright counts as upright.

    n_0 = N + sum of p_upright[:, 1:] and n_k = sum of (1 - p_upright[:, k]): our reading of what
    images without an "up" do to the four classes of rotation prediction.

    Args:
        p_upright: (N, 4), probability that copy k of image i looks upright; on the CPU.
    """
    turned = p_upright[:, 1:].double().sum(dim=0)  # (3,)
    num_images = len(p_upright)
    return torch.cat([(num_images + turned.sum())[None], num_images - turned])


def agnostic_groups(agnostic: Tensor, threshold: float) -> Tensor:
    """(N,) int64: 1 for images without an "up", 0 for those whose upright can be told.

    Args:
        agnostic: (N,) scores.
        threshold: The score from which an image has none.
    """
    return (agnostic >= threshold).long()


@dataclass(frozen=True)
class RotationBalance:
    """Margins and weights of the copies in the rotation loss.

    Where both switches are on, a copy has the larger of its two margins, and the product of its two
    weights.

    Attributes:
        scale: Multiplies the cosines.
        turns: Of the four turns, or None.
        groups: Of rotatable (0) and agnostic images (1), or None.
        group_of: (N,) int64 on the device of the batches, each image's group.
    """

    scale: float
    turns: Balance | None = None
    groups: Balance | None = None
    group_of: Tensor | None = None

    def margins(self, indices: Tensor) -> Tensor:
        """(B, 4) of each image and copy."""
        return torch.stack([of_copy for of_copy, _ in self._parts(indices)]).amax(dim=0)

    def weights(self, indices: Tensor) -> Tensor:
        """(B, 4) of each image and copy."""
        return torch.stack([of_copy for _, of_copy in self._parts(indices)]).prod(dim=0)

    def _parts(self, indices: Tensor) -> list[tuple[Tensor, Tensor]]:
        found = []
        if self.turns is not None:
            both = (self.turns.margins, self.turns.weights)
            found.append((both[0].expand(len(indices), 4), both[1].expand(len(indices), 4)))
        if self.groups is not None and self.group_of is not None:
            group = self.group_of[indices][:, None].expand(-1, 4)
            found.append((self.groups.margins[group], self.groups.weights[group]))
        return found


class SemanticBalance:
    """Margins and weights of the images by their kind, in the instance and invariance losses.

    Kinds are labels where they are given, else clusters of the memory bank's rows, by
    scikit-learn's MiniBatchKMeans, made anew every few epochs; before the first time there are
    none, since the rows are random until an image has been seen.

    Args:
        settings: Margins and weights.
        num_clusters: C, where there are no labels; fewer where there are fewer images.
        every: Epochs between one clustering and the next.
        seed: Fixes the clusters.
        labels: (N,) int64 on the CPU, or None.
        device: Where the batches are.
    """

    def __init__(
        self,
        settings: BalanceConfig,
        *,
        num_clusters: int,
        every: int,
        seed: int = 0,
        labels: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.settings, self.num_clusters, self.every, self.seed = (
            settings, num_clusters, every, seed,
        )  # fmt: skip
        self.by_labels, self.device = labels is not None, device
        self.class_of: Tensor | None = None
        self.balance: Balance | None = None
        if labels is not None:
            self._set(labels)

    def refresh(self, epoch: int, rows: Tensor) -> bool:
        """Cluster the bank's (N, E) rows if the epoch is one for it; returns whether it was."""
        if self.by_labels or epoch == 0 or epoch % self.every:
            return False
        number = min(self.num_clusters, len(rows))
        clusters = MiniBatchKMeans(number, random_state=self.seed, n_init=3)
        self._set(torch.from_numpy(clusters.fit_predict(rows.cpu().numpy())).long())
        return True

    def _set(self, class_of: Tensor) -> None:
        minimum = 0 if self.by_labels else self.num_clusters
        counts = torch.bincount(class_of, minlength=minimum)
        self.balance = Balance.of(counts, self.settings, self.device)
        self.class_of = class_of.to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"class_of": self.class_of}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        if state["class_of"] is not None:
            self._set(state["class_of"].cpu())


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

    def of_rotation(self, indices: Tensor, progress: float) -> dict[str, Any]:
        """Keywords of `quarterturn.losses.rotation.rotation_loss` for a batch."""
        if self.rotation is None:
            return {}
        return {
            "margins": self.rotation.margins(indices),
            "scale": self.rotation.scale,
            "balance": late_weights(self.rotation.weights(indices), self.start, progress),
        }

    def of_images(self, indices: Tensor, progress: float) -> tuple[Tensor | None, Tensor | None]:
        """(B,) margins and (B,) weights of a batch's images by their kind, where there are any."""
        if self.semantic is None or self.semantic.balance is None:
            return None, None
        assert self.semantic.class_of is not None
        kinds = self.semantic.class_of[indices]
        weights = late_weights(self.semantic.balance.weights, self.start, progress)
        return self.semantic.balance.margins[kinds], None if weights is None else weights[kinds]

    def amounts(self, indices: Tensor, progress: float) -> dict[str, Tensor]:
        """Sums of a batch's weights, of the terms whose mean is divided by them."""
        of_copies = self.of_rotation(indices, progress).get("balance")
        _, of_kind = self.of_images(indices, progress)
        weights = {"rotation": of_copies, "invariance": of_kind, "instance": of_kind}
        return {name: of.float().sum() for name, of in weights.items() if of is not None}

    def before_epoch(self, epoch: int, epochs: int, rows: Tensor | None) -> dict[str, Any]:
        """Cluster anew where it is time to; counts, margins and weights that come into force.

        Args:
            epoch: Its number, from 0.
            epochs: Epochs in the whole run.
            rows: (N, E), the memory bank; None for a method without one.
        """
        fresh = False
        if self.semantic is not None and rows is not None:
            fresh = self.semantic.refresh(epoch, rows)
        now, before = epoch / epochs >= self.start, (epoch - 1) / epochs >= self.start
        if epoch > 0 and now == before and not fresh:
            return {}
        known: dict[str, Balance | None] = {}
        if self.rotation is not None:
            known = {"turns": self.rotation.turns, "agnostic": self.rotation.groups}
        if self.semantic is not None:
            known["semantic"] = self.semantic.balance
        return {name: balance.told(now) for name, balance in known.items() if balance is not None}

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
    if switches.of_rotation:
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
    return PretextBalance(rotation, semantic, settings.start(config.run.epochs))
