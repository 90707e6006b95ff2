"""Supervised classification of turned copies: the ceiling beside which the others stand."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.data.batches import Batch
from quarterturn.methods.base import Method, Network, StepOutput
from quarterturn.models.backbone import Backbone
from quarterturn.models.heads import CosineHead, LinearHead


class ClassifierNetwork(Network):
    """A backbone with a linear classifier, applied to every turned copy.

    Args:
        backbone: Images to features of width D.
        num_classes: C.
        cosine: Take cosines as logits, for losses that scale them, as LDAM does.
    """

    def __init__(self, backbone: Backbone, num_classes: int, *, cosine: bool = False) -> None:
        super().__init__(backbone)
        head = CosineHead if cosine else LinearHead
        self.classifier: nn.Linear = head(backbone.feature_dim, num_classes)

    def parts(self, features: Tensor) -> dict[str, Tensor]:
        """The class logits: what such a network knows that turning does not change."""
        return {"logits": self.classifier(features)}

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, 4, C) logits."""
        return self.classifier(self.features_of_turns(images))


class SupervisedTurned(Method):
    """Cross-entropy of the label, the same for all four copies of an image."""

    reads_labels = True

    def __init__(self, network: ClassifierNetwork) -> None:
        self.network = network
        self.term_weights = {"classification": 1.0}

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The classification loss of a batch."""
        assert batch.labels is not None
        logits = network(batch.images)
        targets = batch.labels.repeat_interleave(4)
        return StepOutput({"classification": F.cross_entropy(logits.flatten(0, 1), targets)})
