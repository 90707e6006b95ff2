"""Options of classifiers that a probe trains on frozen layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from quarterturn.config.bounds import Count
from quarterturn.config.method import MethodOptions
from quarterturn.config.validation import require


@dataclass(frozen=True)
class ProbeHeadsOptions(MethodOptions):
    """Which classifiers, on which layers, from which of the labelled images."""

    name: ClassVar[str] = "probe-heads"
    title: ClassVar[str] = "classifiers on frozen features"
    meaning: ClassVar[str] = "classifiers learn the labels from features that stay as they are"
    command: ClassVar[str | None] = "probe"
    reads_labels: ClassVar[bool] = True

    head: Literal["linear", "nonlinear", "multilayer", "convolutional"] = "linear"
    """linear; nonlinear, the rest of AlexNet; multilayer and convolutional, RotNet's on CIFAR. See
    `quarterturn.models.probe_heads`."""
    layers: tuple[str, ...] = ()
    """Layers of the backbone, each with a head of its own; by default the last."""
    extra_conv: tuple[str, ...] = ()
    """Layers whose nonlinear head begins with one more 3x3 convolution."""
    num_features: Count = 9000
    """A linear head's maps are max-pooled to a square grid, of about N values in all."""
    augment: bool = True
    """Learn from random crops; else from the centre crops, whose features are extracted once."""
    test_crops: Literal[1, 10] = 1
    """Test on the centre crop, or on the mean over it, the corners, and all five mirrored."""
    images_per_class: tuple[Count, ...] = ()
    """Learn from the first N images of each class in file order, one training for each
    number; from all by default."""
    images_per_epoch: Count | None = None
    """Images shown in an epoch, each as often as any other; every image once by default."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        require(
            self.augment or self.test_crops == 1,
            "test_crops",
            self.test_crops,
            "1 where features are extracted once",
        )
