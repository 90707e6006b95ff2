"""The regions that a detector learns from: what each shows, and which of them a step takes.

Shapes: N images; n regions in one, its true boxes first; C classes, numbered from 1, 0 being the
background. Boxes are (x1, y1, x2, y2) in pixels of the image, corners included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.data.region_boxes import offsets_between
from quarterturn.data.voc_objects import Objects
from quarterturn.methods.detector_options import DetectorOptions
from quarterturn.metrics.detection import box_iou
from quarterturn.randomness import uniforms


@dataclass(frozen=True)
class TrainingRegions:
    """The regions of one image: its true boxes, difficult ones too, and its proposals.

    Attributes:
        boxes: (n, 4) float32.
        overlaps: (n,) float32 largest IoU with a true box, widths + 1; 0 without any.
        classes: (n,) int64 class of that box, 0 without any.
        objects: (n,) its number.
    """

    boxes: NDArray[np.float32]
    overlaps: NDArray[np.float32]
    classes: NDArray[np.int64]
    objects: NDArray[np.int64]

    @classmethod
    def of(cls, objects: Objects, proposals: NDArray[np.float32]) -> TrainingRegions:
        """Those of an image.

        Args:
            objects: Its true objects.
            proposals: (p, 4) its proposals.
        """
        boxes = np.concatenate([objects.boxes.astype(np.float32), proposals])
        if not len(objects):
            nothing = np.zeros(len(boxes), np.int64)
            return cls(boxes, np.zeros(len(boxes), np.float32), nothing, nothing)
        shared = box_iou(boxes.astype(np.float64), objects.boxes)
        best = shared.argmax(axis=1)
        overlaps = shared[np.arange(len(boxes)), best]
        classes = np.where(overlaps > 0, objects.classes[best] + 1, 0)
        return cls(boxes, overlaps.astype(np.float32), classes, best)

    def offsets(self, chosen: NDArray[np.int64] | Tensor) -> Tensor:
        """(m, 4) float64 offsets from some of the regions to their true boxes, not normalised."""
        boxes = torch.from_numpy(self.boxes).double()
        numbers = torch.as_tensor(chosen)
        return offsets_between(boxes[numbers], boxes[torch.from_numpy(self.objects)[numbers]])


def offset_statistics(
    regions: Sequence[TrainingRegions], num_classes: int, foreground_from: float
) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of the offsets of each class, mirrored copies included.

    Args:
        regions: Of the N images.
        num_classes: C.
        foreground_from: Least overlap of the regions that count.

    Returns:
        (C + 1, 4) each; means of 0 and deviations of 1 for the background, and where a class has
        nothing but its true boxes, whose offsets are all 0.
    """
    counts = torch.zeros(num_classes + 1, 1, dtype=torch.float64)
    sums = torch.zeros(num_classes + 1, 4, dtype=torch.float64)
    squares = torch.zeros(num_classes + 1, 4, dtype=torch.float64)
    for of_image in regions:
        chosen = np.flatnonzero(of_image.overlaps >= foreground_from)
        if not len(chosen):
            continue
        offsets = of_image.offsets(chosen)
        classes = torch.from_numpy(of_image.classes[chosen])
        counts.index_add_(0, classes, torch.ones(len(chosen), 1, dtype=torch.float64))
        sums.index_add_(0, classes, offsets)
        squares.index_add_(0, classes, offsets**2)
    counts = counts.clamp(min=1)
    means = sums / counts
    means[:, 0] = 0  # a mirrored copy has the other sign
    deviations = (squares / counts - means**2).clamp(min=0).sqrt()
    deviations[deviations < 1e-6] = 1
    return means.float(), deviations.float()


def sample(
    overlaps: NDArray[np.float32], options: DetectorOptions, seed: int, step: int, image: int
) -> NDArray[np.int64]:
    """Numbers of the regions of an image that a step learns from: those on objects first.

    Drawn without replacement; fewer where there are too few. A function of seed, step and image.

    Args:
        overlaps: (n,) largest IoU of each region with a true box.
        options: How many there are of either kind, and by which overlaps.
        seed: The run's.
        step: Number of the step.
        image: Number of the image, by which its mirrored copy is another one.
    """
    drawn = uniforms(seed, "regions", step, image, torch.arange(len(overlaps))).numpy()
    order = np.argsort(drawn, kind="stable")
    sorted_overlaps = overlaps[order]
    on_objects = order[sorted_overlaps >= options.foreground_from]
    background = order[
        (sorted_overlaps < options.foreground_from) & (sorted_overlaps >= options.background_from)
    ]
    most = round(options.foreground * options.regions_per_image)
    on_objects = on_objects[:most]
    return np.concatenate([on_objects, background[: options.regions_per_image - len(on_objects)]])
