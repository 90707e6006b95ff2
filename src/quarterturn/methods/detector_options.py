"""Options of a detector: a network that finds the objects in an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from quarterturn.config.bounds import (
    Bounds,
    Count,
    CountOrZero,
    FractionBelowOne,
    PositiveFraction,
    Side,
)
from quarterturn.config.method import MethodOptions
from quarterturn.config.options import COMMON
from quarterturn.config.validation import require

PARTS = 10
"""A training is cut into this many parts, its epochs: checkpoints are kept at their ends, and the
learning rate drops at some of them."""

Iterations = Annotated[int, Bounds(at_least=0, at_most=10_000_000)]


@dataclass(frozen=True)
class DetectorOptions(MethodOptions):
    """A detector on a backbone, and how images and regions are shown to it."""

    name: ClassVar[str] = "detector"
    title: ClassVar[str] = "object detection"
    meaning: ClassVar[str] = "the network learns the boxes and classes of the objects in its images"
    module: ClassVar[str | None] = "quarterturn.methods.detector"
    command: ClassVar[str | None] = "detect"
    reads_labels: ClassVar[bool] = True
    counts_iterations: ClassVar[bool] = True

    detector: Literal["fast-rcnn", "faster-rcnn"] = "fast-rcnn"
    """fast-rcnn (Girshick 2015) classifies proposals that are given; faster-rcnn (Ren et al. 2015,
    with the feature pyramid of Lin et al. 2017, as torchvision has it) makes its own."""
    iterations: Annotated[Iterations, COMMON] = 200_000
    """Steps of the training, a multiple of 10; the drops of the learning rate are fractions of it.
    0 trains nothing."""
    scales: Annotated[tuple[Side, ...], COMMON] = (480, 576, 688, 864, 1200)
    """Short sides in pixels that training images are resized to; one is drawn for each image."""
    max_side: Side = 2000
    """Longest long side in pixels in the training; a larger image is resized to it."""
    test_scale: Side = 600
    """Short side in pixels that test images are resized to."""
    test_max_side: Side = 1000
    """Longest long side in pixels in the test."""
    freeze_first: bool = True
    """Keep the backbone's first layer as it is (conv1 of AlexNet, the stem of a ResNet); from
    scratch all layers are trained."""
    regions_per_image: Count = 64
    """Regions of an image that a step learns from, at most."""
    foreground: PositiveFraction = 0.25
    """Largest share of them that lie on objects."""
    foreground_from: PositiveFraction = 0.5
    """Of fast-rcnn: least IoU of a region with an object that it lies on."""
    background_from: FractionBelowOne = 0.1
    """Of fast-rcnn: least IoU of a region of the background with some object; those below are
    easy."""
    max_proposals: CountOrZero = 2000
    """Of fast-rcnn: proposals of an image that selective search keeps, chosen evenly over all sizes
    where there are more; 0 for all."""
    per_image: Count = 100
    """Detections of a class in an image, at most; of faster-rcnn, of all classes."""
    per_class: CountOrZero = 40
    """Of fast-rcnn: detections of a class an image on average, at most; 0 for no such limit."""
    overlap: PositiveFraction = 0.3
    """Detections of a class whose IoU with a better-scored one is above this are dropped."""

    def images_in_words(self, side: int) -> str:
        """Whole images, by their short sides."""
        sides = f"{min(self.scales):,}"
        if len(set(self.scales)) > 1:
            sides += f" to {max(self.scales):,}"
        return f"whole images with short sides of {sides} pixels"

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        require(
            self.iterations % PARTS == 0,
            "iterations",
            self.iterations,
            f"a multiple of {PARTS}: the training is cut into {PARTS} parts of equal length",
        )
        require(len(self.scales) > 0, "scales", "empty", "one side in pixels or more")
        require(
            self.background_from < self.foreground_from,
            "background_from",
            self.background_from,
            f"less than --foreground-from {self.foreground_from}",
        )
