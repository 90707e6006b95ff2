"""Instance discrimination by a memory bank, shared by the methods that use it.

Shapes: B images; E embedding width; K noise samples; N images in the data set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quarterturn.losses.instance import (
    gathered_logits,
    infonce_of_logits,
    instance_logits,
    nce_of_logits,
    normalizer_of_logits,
)
from quarterturn.methods.configuration import Config
from quarterturn.methods.discrimination_options import DiscriminationOptions
from quarterturn.models.bank import InstanceBank
from quarterturn.randomness import integers


class InstanceDiscrimination:
    """Tells every image from every other.

    Args:
        num_instances: N.
        embedding_dim: E.
        settings: Loss, noise, temperature and momentum.
        seed: Fixes the bank's first rows and the noise.
        device: Where the bank lives.
        mean_over_processes: Averages a scalar over all processes.
    """

    def __init__(
        self,
        num_instances: int,
        embedding_dim: int,
        settings: DiscriminationOptions,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        mean_over_processes: Callable[[Tensor], Tensor] = lambda value: value,
    ) -> None:
        self.settings, self.seed = settings, seed
        self.num_instances = num_instances
        self.bank = InstanceBank(num_instances, embedding_dim, settings.bank_momentum, seed)
        self.bank.to(device)
        self.mean_over_processes = mean_over_processes

    def loss(
        self,
        embedding: Tensor,
        indices: Tensor,
        step: int,
        margins: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The instance loss, and Z where this is the step that estimates it.

        Args:
            embedding: (B, E), of length 1.
            indices: (B,) numbers of the images.
            step: Fixes the noise, together with the images' numbers.
            margins: (B,) taken off the positives' cosines, or None.
            weights: (B,) of the images, or None for 1.
        """
        rows, temperature = self.bank.rows, self.settings.temperature
        chosen = self.draw_noise(indices, step)  # (K,) or (B, K)
        if chosen.ndim == 1:
            logits = instance_logits(embedding, rows[indices], rows[chosen], temperature)
        else:
            logits = gathered_logits(embedding, rows, indices, chosen, temperature)
        positive, noise = logits
        if margins is not None:
            positive = positive - margins / temperature
        if self.settings.instance_loss == "infonce":
            own = chosen == indices[:, None]  # (B, K)
            return infonce_of_logits(positive, noise, own, weights), None
        n, first = self.num_instances, None
        if self.bank.normalizer is None:
            first = self.mean_over_processes(normalizer_of_logits(*logits, num_instances=n))
        normalizer = self.bank.normalizer if first is None else first
        assert normalizer is not None
        loss = nce_of_logits(
            positive, noise, num_instances=n, normalizer=normalizer, weights=weights
        )
        return loss, first

    def draw_noise(self, indices: Tensor, step: int) -> Tensor:
        """Numbers of the noise images, uniform with replacement: (K,) or (B, K) int64."""
        samples = torch.arange(self.settings.num_noise, device=indices.device)
        if self.settings.noise == "shared":
            return integers(self.num_instances, self.seed, "noise", step, samples)
        return integers(self.num_instances, self.seed, "noise", step, indices[:, None], samples)

    def after_step(
        self, indices: Tensor, embeddings: Tensor, normalizer: Tensor | None = None
    ) -> None:
        """Move the rows of these images, and keep Z where it has just been estimated."""
        self.bank.update(indices, embeddings)
        if normalizer is not None:
            self.bank.normalizer = normalizer

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"bank": self.bank.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        self.bank.load_state_dict(state["bank"])


def build_discrimination(
    config: Config,
    num_instances: int,
    device: torch.device | str,
    mean_over_processes: Callable[[Tensor], Tensor],
) -> InstanceDiscrimination:
    """The instance loss with its bank, as a configuration says.

    Args:
        config: The whole configuration.
        num_instances: N.
        device: Where the bank lives.
        mean_over_processes: Averages a scalar over all processes.
    """
    options = config.method_as(DiscriminationOptions)
    return InstanceDiscrimination(
        num_instances,
        options.embedding_dim,
        options,
        seed=config.run.seed,
        device=device,
        mean_over_processes=mean_over_processes,
    )
