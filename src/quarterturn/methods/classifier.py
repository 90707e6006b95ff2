"""Learning from labels: a classifier on a backbone, for classes of equal or unequal size.

Shapes: B images; C classes; D feature width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.config import BalanceConfig
from quarterturn.data.batches import Batch
from quarterturn.losses.focal import FocalLoss
from quarterturn.losses.ldam import LDAMLoss
from quarterturn.losses.logit_adjustment import LogitAdjustedLoss, adjust_logits, log_prior
from quarterturn.losses.sigmoid import sigmoid_loss
from quarterturn.losses.weights import effective_number_weights, late_weights
from quarterturn.methods.base import Method, Network, StepOutput, TrainingFacts
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.configuration import Config
from quarterturn.models.backbone import Backbone
from quarterturn.models.folded_alexnet import LastingDropout
from quarterturn.models.heads import CosineHead, LinearHead
from quarterturn.rotation import rotate4

ClassificationLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(B, C) logits, (B,) targets or (B, C) label sets, and (C,) weights or None to a scalar, such as
`torch.nn.functional.cross_entropy` or `quarterturn.losses.ldam.LDAMLoss`."""


class ClassifierNetwork(Network):
    """A backbone with a classifier.

    Args:
        backbone: Images to features of width D.
        num_classes: C.
        cosine: Take cosines as logits, for losses that scale them, as LDAM does.
        scale: What such a loss multiplies them by; probabilities are made of the products.
        post_hoc_adjustment: How much of ``log_priors`` probabilities are made without; see
            `quarterturn.losses.logit_adjustment.adjust_logits`.
        several_labels: Take each logit as a class of its own, present or not.

    Attributes:
        log_priors: (C,) log of each class's share of the training images, kept with the weights;
            zeros where nobody has set them.
    """

    log_priors: Tensor

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        cosine: bool = False,
        scale: float = 1.0,
        post_hoc_adjustment: float = 0.0,
        several_labels: bool = False,
    ) -> None:
        super().__init__(backbone)
        head = CosineHead if cosine else LinearHead
        self.classifier: nn.Linear = head(backbone.feature_dim, num_classes)
        self.register_buffer("log_priors", torch.zeros(num_classes))
        self.scale, self.post_hoc_adjustment = scale, post_hoc_adjustment
        self.several_labels = several_labels

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) to (B, C) logits, or cosines."""
        return self.classifier(self.backbone(images))

    def train(self, mode: bool = True) -> Self:
        """Training mode, for what is trained and for dropout among what is not."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, LastingDropout):
                module.train(mode)
        return self

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads that this network has."""
        return (*super().heads, "classifier")

    def class_logits(self, features: Tensor) -> Tensor:
        """(B, D) features to (B, C) logits; see `probabilities`."""
        return self._adjusted(self.classifier(features))

    def class_probabilities(self, features: Tensor) -> Tensor:
        """(B, D) features to (B, C) probabilities."""
        return self.probabilities(self.classifier(features))

    def head_outputs(self, features: Tensor) -> dict[str, Tensor]:
        """See `Network.head_outputs`."""
        return super().head_outputs(features) | {"classifier": self.class_logits(features)}

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, C) logits of this network to probabilities: scaled, adjusted, without margins.

        Those of a row sum to 1, but where images have several labels each.
        """
        adjusted = self._adjusted(logits)
        return adjusted.sigmoid() if self.several_labels else adjusted.softmax(dim=1)

    def _adjusted(self, logits: Tensor) -> Tensor:
        logits = self.scale * logits
        priors = self.log_priors.to(logits.device)
        return adjust_logits(logits, priors, self.post_hoc_adjustment)


class Classification(Method):
    """The loss of a classifier, with weights of classes that turn on at a time.

    Args:
        network: A `ClassifierNetwork`.
        loss: Of logits, targets and weights.
        class_counts: (C,) training images of each class, for the log.
        class_weights: (C,) on the device of the batches, or None for 1 everywhere.
        reweight_from: Fraction of the epochs after which they are in force; 0.8 is deferred
            re-weighting (DRW) as Cao et al. (NeurIPS 2019) have it.
        turned: Show every image in its four turns, under the same label.
        seed: Of what dropout leaves out, where the backbone has it.
    """

    reads_labels = True

    def __init__(
        self,
        network: ClassifierNetwork,
        loss: ClassificationLoss,
        *,
        class_counts: Tensor | None = None,
        class_weights: Tensor | None = None,
        reweight_from: float = 0.0,
        turned: bool = False,
        seed: int = 0,
    ) -> None:
        self.network = network
        self.dropouts = [m for m in network.modules() if isinstance(m, LastingDropout)]
        self.seed = seed
        self.loss = loss
        self.term_weights = {"classification": 1.0}
        self.class_counts, self.class_weights = class_counts, class_weights
        self.reweight_from, self.turned = reweight_from, turned

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The classification loss of a batch."""
        assert batch.labels is not None
        images, targets = batch.images, batch.labels
        if self.turned:
            images, targets = rotate4(images).flatten(0, 1), targets.repeat_interleave(4, dim=0)
        weights = late_weights(self.class_weights, self.reweight_from, progress)
        copies = len(images) // len(batch)
        for layer, dropout in enumerate(self.dropouts):
            dropout.draw = (self.seed, step, layer, batch.indices.repeat_interleave(copies))
        return StepOutput({"classification": self.loss(network(images), targets, weights)})

    def amounts(self, batch: Batch, progress: float = 0.0) -> dict[str, Tensor]:
        """The images, or the sum of their classes' weights."""
        weights = late_weights(self.class_weights, self.reweight_from, progress)
        if weights is None:
            return super().amounts(batch, progress)
        return {"classification": weights[batch.labels].float().sum()}

    def before_epoch(self, epoch: int, epochs: int) -> dict[str, Any]:
        """The images of each class, with margins and weights, when they come into force."""
        if self.class_counts is None:
            return {}
        now, before = (
            late_weights(self.class_weights, self.reweight_from, e / epochs)
            for e in (epoch, epoch - 1)
        )
        if epoch > 0 and (now is None) == (before is None):
            return {}
        margins = getattr(self.loss, "margins", None)
        return {
            "class_counts": self.class_counts.tolist(),
            "margins": None if margins is None else margins.tolist(),
            "class_weights": None if now is None else now.tolist(),
        }


ALEXNET_LINEAR = ("stages.fc6.", "stages.fc7.")
"""What the names of AlexNet's hidden linear layers begin with."""


def build_network(config: Config, backbone: Backbone, num_classes: int) -> ClassifierNetwork:
    """See `quarterturn.methods.build.MethodModule`."""
    options = config.method_as(ClassifierOptions)
    cosine = options.loss == "ldam"
    network = ClassifierNetwork(
        backbone,
        num_classes,
        cosine=cosine,
        scale=config.balance.scale if cosine else 1.0,
        post_hoc_adjustment=options.post_hoc_adjustment,
        several_labels=options.has_several_labels,
    )
    if options.classifier_init == "caffe":
        nn.init.normal_(network.classifier.weight, std=0.01)
        nn.init.constant_(network.classifier.bias, 0.1)
    if options.classifier_init == "deepcluster":
        nn.init.constant_(network.classifier.bias, 0.1)
        for name, module in backbone.named_modules():
            if isinstance(module, nn.Linear) and name.startswith(ALEXNET_LINEAR):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.constant_(module.bias, 0.1)
    return network


def build_method(config: Config, network: Network, facts: TrainingFacts) -> Classification:
    """See `quarterturn.methods.build.MethodModule`.

    Raises:
        ValueError: A class has no image, and the configuration does not leave it out.
    """
    assert isinstance(network, ClassifierNetwork)
    assert facts.class_counts is not None
    counts, balance = facts.class_counts, config.balance
    options = config.method_as(ClassifierOptions)
    leave_out_empty = options.leave_out_empty
    if not options.has_several_labels:  # else classes have no shares that sum to 1
        network.log_priors.copy_(log_prior(counts, leave_out_empty=leave_out_empty))
    weights = None
    if options.reweight != "none":
        weights = effective_number_weights(
            counts, balance.beta, leave_out_empty=leave_out_empty
        ).to(facts.device)
    loss = _classification_loss(options, balance, counts)
    return Classification(
        network,
        loss.to(facts.device) if isinstance(loss, nn.Module) else loss,
        class_counts=counts,
        class_weights=weights,
        reweight_from=balance.start(config.first_phase_epochs)
        if options.reweight == "drw"
        else 0.0,
        seed=config.run.seed,
    )


def _classification_loss(
    options: ClassifierOptions, balance: BalanceConfig, counts: Tensor
) -> ClassificationLoss:
    leave_out_empty = options.leave_out_empty
    match options.loss:
        case "cross-entropy":
            return F.cross_entropy
        case "sigmoid":
            return sigmoid_loss
        case "ldam":
            return LDAMLoss(
                counts, balance.max_margin, balance.scale, leave_out_empty=leave_out_empty
            )
        case "focal":
            return FocalLoss(options.focal_gamma)
        case "balanced-softmax":
            return LogitAdjustedLoss(counts, leave_out_empty=leave_out_empty)
        case "logit-adjusted":
            return LogitAdjustedLoss(counts, options.adjustment, leave_out_empty=leave_out_empty)
