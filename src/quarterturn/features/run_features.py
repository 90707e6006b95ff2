"""The part of a run's features that a user asks for, also beside those that the run began with.

Shapes: B images; d width of a part.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from quarterturn.errors import ConfigError
from quarterturn.features.network_features import (
    NetworkFeatures,
    choose_part,
    weights_fingerprint,
)
from quarterturn.methods.base import Network
from quarterturn.runs import Run

WITH_START = "with-start"
"""The half that is what a network has learned beside what it knew when it began."""


class FeaturesWithStart(NetworkFeatures):
    """The invariant half of a network, or its whole feature, beside that of its start.

    Each of the two has length 1, so that a cosine of the joined features is the mean of their
    cosines. Training on a small collection forgets what the collection does not show; the start's
    feature has not.

    Args:
        network: What has been trained.
        start: What the training began with.
    """

    def __init__(self, network: Network, start: Network) -> None:
        super().__init__(network)
        self.start = start.to(memory_format=torch.channels_last)

    @cached_property
    def fingerprint(self) -> str:
        """Of both networks."""
        both = f"{WITH_START} {weights_fingerprint(self.network)} {weights_fingerprint(self.start)}"
        return hashlib.sha256(both.encode()).hexdigest()[:16]

    def only(self, layers: tuple[str, ...]) -> FeaturesWithStart:
        """The same: there is but one layer."""
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) images to `WITH_START`, (B, d)."""
        features = self.network.backbone(images)
        own = self.network.parts(features).get("invariant", features)
        parts = [F.normalize(own, dim=-1), F.normalize(self.start.backbone(images), dim=-1)]
        return {WITH_START: torch.cat(parts, dim=-1)}


def features_of_run(
    run: Run,
    device: torch.device | str,
    half: str | None = None,
    layer: str | None = None,
) -> tuple[NetworkFeatures, str]:
    """The part of the features of a run that a user asks for, on a device.

    Args:
        run: The run.
        device: Where to compute.
        half: As for `choose_part`, or `WITH_START`.
        layer: As for `choose_part`.

    Returns:
        The features, and the name of the part among them.

    Raises:
        CheckpointError: What the run began with is gone.
        ConfigError: The run did not begin with weights, or as for `choose_part`.
    """
    network = run.load_network().to(device)
    if half != WITH_START:
        return choose_part(network, half, layer)
    if layer is not None:
        raise ConfigError(f"--half {half} is of the last layer: give --half or --layer, not both")
    if (start := run.open_start()) is None:
        raise ConfigError(
            f"--half {half}: this run did not begin with weights, so there is nothing beside its "
            "features; leave --half out"
        )
    return FeaturesWithStart(network, start.load_network().to(device)), half
