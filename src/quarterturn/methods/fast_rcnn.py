"""Fast R-CNN (Girshick, ICCV 2015): a class and a better box for each proposed region.

Shapes: B images; R regions of all of them; C classes, numbered from 1, 0 being the background; D
feature width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from quarterturn.data.region_batches import RegionBatch
from quarterturn.errors import CheckpointError
from quarterturn.losses.regions import region_losses
from quarterturn.methods.base import Method, Network, StepOutput
from quarterturn.models.backbone import Backbone
from quarterturn.models.folded_alexnet import LastingDropout
from quarterturn.models.region_features import RegionFeatures

CHUNK = 512
"""Regions that go through the head together in a test; bounds its memory."""


class FastRCNN(Network):
    """A backbone with class scores and box offsets of regions.

    Args:
        backbone: See `RegionFeatures` for how it is parted.
        num_classes: C, without the background.

    Attributes:
        offset_means: (C + 1, 4) by which targets of offsets are normalised, and predicted ones put
            back; zeros once they are folded into the weights.
        offset_stds: (C + 1, 4) likewise; ones once they are folded.
    """

    offset_means: Tensor
    offset_stds: Tensor

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__(backbone)
        self.regions = RegionFeatures(backbone)
        self.class_scores = nn.Linear(self.regions.feature_dim, num_classes + 1)
        self.box_offsets = nn.Linear(self.regions.feature_dim, 4 * (num_classes + 1))
        for layer, deviation in ((self.class_scores, 0.01), (self.box_offsets, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)
        self.register_buffer("offset_means", torch.zeros(num_classes + 1, 4))
        self.register_buffer("offset_stds", torch.ones(num_classes + 1, 4))

    def forward(self, images: Tensor, regions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits and normalised box offsets of regions.

        Args:
            images: (B, 3, H, W), normalised.
            regions: (n, 4) of each image, in its pixels.

        Returns:
            (R, C + 1) and (R, 4 (C + 1)).
        """
        features = self.regions(self.regions.maps(images), regions)
        return self.class_scores(features), self.box_offsets(features)

    @torch.no_grad()
    def predict(self, image: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Class probabilities, and offsets in widths and heights, of regions in one image.

        Args:
            image: (3, H, W), normalised.
            regions: (R, 4) in its pixels.

        Returns:
            (R, C + 1) and (R, C + 1, 4), both float32.
        """
        maps = self.regions.maps(image[None])
        scores, offsets = [], []
        for chunk in regions.split(CHUNK):
            features = self.regions(maps, [chunk])
            scores.append(self.class_scores(features).float())
            offsets.append(self.box_offsets(features).float().unflatten(1, (-1, 4)))
        moved = torch.cat(offsets) * self.offset_stds + self.offset_means
        return torch.cat(scores).softmax(dim=1), moved

    @torch.no_grad()
    def fold_offsets(self) -> None:
        """Fold means and deviations of the offsets into the weights that predict them.

        The network predicts the same boxes as before; folded once more it stays as it is.
        """
        deviations, means = self.offset_stds.flatten(), self.offset_means.flatten()
        self.box_offsets.weight.mul_(deviations[:, None])
        self.box_offsets.bias.mul_(deviations).add_(means)
        self.offset_means.zero_()
        self.offset_stds.fill_(1)

    def train(self, mode: bool = True) -> Self:
        """Training mode, for what is trained and for dropout."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, LastingDropout):
                module.train(mode)
        return self


class RegionClassification(Method):
    """The loss of Fast R-CNN.

    Args:
        network: A `FastRCNN`.
        seed: Of what dropout leaves out, where the backbone has it.

    Attributes:
        proposals: Fingerprint of the proposals that are learned from; a checkpoint carries it.
    """

    reads_labels = True
    network: FastRCNN

    def __init__(self, network: FastRCNN, *, seed: int = 0) -> None:
        self.network = network
        self.term_weights = {"classification": 1.0, "boxes": 1.0}
        self.proposals = ""
        self.seed = seed
        self._dropouts = [m for m in network.modules() if isinstance(m, LastingDropout)]

    def losses(  # type: ignore[override]  # a detector takes batches of its own
        self, network: nn.Module, batch: RegionBatch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The loss terms of a batch."""
        device = batch.images.device
        counts = torch.tensor([len(regions) for regions in batch.regions], device=device)
        images = batch.indices.repeat_interleave(counts)
        # The number of a region among those of its image sets it apart from the others.
        places = torch.cat([torch.arange(n, device=device) for n in counts.tolist()])
        for layer, dropout in enumerate(self._dropouts):
            dropout.draw = (self.seed, step, layer, images << 20 | places)
        scores, offsets = network(batch.images, batch.regions)
        classes, targets = torch.cat(batch.classes), torch.cat(batch.offsets)
        return StepOutput(region_losses(scores, offsets, classes, targets))

    def amounts(  # type: ignore[override]
        self, batch: RegionBatch, progress: float = 0.0
    ) -> dict[str, Tensor]:
        """The regions of the batch."""
        regions = sum(map(len, batch.regions))
        amount = torch.full((), float(max(1, regions)), device=batch.images.device)
        return dict.fromkeys(self.term_weights, amount)

    def state_dict(self) -> dict[str, Any]:
        """Which proposals are learned from."""
        return {"proposals": self.proposals}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuse to continue with others.

        Raises:
            CheckpointError: The checkpoint is of a training on other proposals.
        """
        if state["proposals"] != self.proposals:
            raise CheckpointError(
                f"it was trained on other proposals (fingerprint {state['proposals']}) than the "
                f"run has now ({self.proposals})"
            )
