"""What the training loop needs of a method, and of its batches.

Shapes: B images in a batch over all processes; E values of an embedding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from quarterturn.data.batches import Batch


class StepOutput(Protocol):
    """What a batch gives; see `quarterturn.methods.base.StepOutput`."""

    @property
    def terms(self) -> dict[str, Tensor]:
        """Named scalar losses, each a mean over the batch."""

    @property
    def embeddings(self) -> Tensor | None:
        """(B, E) for `Learner.after_step`, or None."""

    @property
    def normalizer(self) -> Tensor | None:
        """A scalar for `Learner.after_step`, or None."""

    @property
    def predicted(self) -> Tensor | None:
        """1 for each view whose turn is predicted, else 0; None without a rotation head."""


class Learner(Protocol):
    """What the loop needs of a method; see `quarterturn.methods.base.Method`."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    @property
    def term_weights(self) -> dict[str, float]:
        """Weight of each loss term in the total."""

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The loss terms of a batch; changes no state."""

    def amounts(self, batch: Batch, progress: float = 0.0) -> dict[str, Tensor]:
        """What each term's mean is divided by."""

    def before_epoch(self, epoch: int, epochs: int) -> dict[str, Any]:
        """Get ready for an epoch of a schedule; returns what changed, for the log."""

    def after_step(
        self, indices: Tensor, embeddings: Tensor, normalizer: Tensor | None = None
    ) -> None:
        """Update what gradients do not, from the gathered embeddings of a step."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the network."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""


class Batches(Protocol):
    """What the loop needs of the data: batches of images, or of their features."""

    failed: dict[int, str]
    """Images that could not be decoded so far, with the reason."""
    changed: set[int]
    """Images that this process read from files which have changed since the training began."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from number ``first`` on."""

    def note_failed(self, failed: dict[int, str]) -> None:
        """Take note of what other processes could not decode; too many are an error."""
