"""Finding the objects in images by a trained detector.

Shapes: N images; R regions of one; C classes, from 0 here, since the background is never reported.
Boxes are (x1, y1, x2, y2) in pixels of the image, counted from 0, corners included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import nms

from quarterturn.data.imageset import ImageSet
from quarterturn.data.region_boxes import clipped, moved
from quarterturn.data.unreadable import warn_changed
from quarterturn.data.whole_images import Padded, Resized, WholeImage, whole_images
from quarterturn.methods.base import Network
from quarterturn.methods.configuration import Config
from quarterturn.methods.detector_options import DetectorOptions
from quarterturn.methods.fast_rcnn import FastRCNN
from quarterturn.methods.faster_rcnn import FasterRCNN
from quarterturn.progress import stage


@dataclass(frozen=True)
class Found:
    """Objects that were found.

    Attributes:
        image: (d,) int64 number of the image of each.
        class_number: (d,) int64 its class.
        score: (d,) float32 its probability.
        box: (d, 4) float32.
        sizes: (N, 2) int64 heights and widths of the images; 0 for those that could not be read.
        failed: Images that could not be decoded, by number, with the reason.
    """

    image: NDArray[np.int64]
    class_number: NDArray[np.int64]
    score: NDArray[np.float32]
    box: NDArray[np.float32]
    sizes: NDArray[np.int64]
    failed: dict[int, str] = field(default_factory=dict)


def find_objects(
    network: Network,
    images: ImageSet,
    config: Config,
    proposals: Sequence[NDArray[np.float32]] | None = None,
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
    weight: float = 1,
) -> Found:
    """The objects in images, each shown once, at the scale of the test.

    Args:
        network: A detector of `quarterturn.methods.detector`; put in eval mode meanwhile.
        images: The images.
        config: Of the run that trained it.
        proposals: (R, 4) of each image, for Fast R-CNN.
        device: Where the network is.
        workers: Processes that decode files.
        weight: Steps of the stage of progress around it that it makes up.
    """
    assert isinstance(network, FastRCNN | FasterRCNN)
    options = config.method_as(DetectorOptions)
    plans = [
        [WholeImage(number, options.test_scale, options.test_max_side)]
        for number in range(len(images))
    ]
    padded = Padded(config.data, torch.device(device))
    sizes = np.zeros((len(images), 2), np.int64)
    failed: dict[int, str] = {}
    changed: set[int] = set()
    rows: list[dict[str, Tensor]] = []
    was_training = network.training
    network.eval()
    try:
        with stage("test", total=len(images), weight=weight) as bar:
            for (resized,) in whole_images(images, plans, workers):
                number = resized.plan.index
                if resized.pixels is None or resized.seen is None:
                    failed[number] = resized.failure
                else:
                    changed |= images.note([resized.seen])
                    sizes[number] = resized.size
                    shown = padded([resized.pixels])[0]
                    if isinstance(network, FastRCNN):
                        assert proposals is not None
                        boxes = torch.from_numpy(proposals[number]).to(shown.device)
                        found = _by_regions(network, shown, boxes, resized, options)
                    else:
                        found = _by_itself(network, shown, resized)
                    rows.append({name: values.cpu() for name, values in found.items()})
                bar.advance()
    finally:
        network.train(was_training)
    warn_changed(images, changed)
    whole = _joined(rows)
    if isinstance(network, FastRCNN):
        whole = _thinned(whole, len(images), options)
    arrays: dict[str, Any] = {name: values.numpy() for name, values in whole.items()}
    return Found(**arrays, sizes=sizes, failed=failed)


def _by_regions(
    network: FastRCNN, shown: Tensor, boxes: Tensor, resized: Resized, options: DetectorOptions
) -> dict[str, Tensor]:
    """The best regions of each class in an image; overlapping ones are still there."""
    probabilities, offsets = network.predict(shown, boxes * resized.scale)
    better = clipped(moved(boxes, offsets), *resized.size)  # (R, C + 1, 4)
    best = min(options.per_image, len(boxes))
    scores, numbers = probabilities[:, 1:].topk(best, dim=0)  # (best, C)
    classes = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    return {
        "image": torch.full((scores.numel(),), resized.plan.index),
        "class_number": classes.flatten(),
        "score": scores.flatten(),
        "box": better[numbers, classes + 1].flatten(0, 1),
    }


def _by_itself(network: FasterRCNN, shown: Tensor, resized: Resized) -> dict[str, Tensor]:
    """The objects in an image, by a network that makes its own proposals."""
    boxes, scores, classes = network.predict(shown)
    return {
        "image": torch.full((len(boxes),), resized.plan.index),
        "class_number": classes - 1,
        "score": scores,
        "box": clipped(boxes / resized.scale, *resized.size),
    }


def _joined(rows: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    empty = {
        "image": torch.zeros(0, dtype=torch.int64),
        "class_number": torch.zeros(0, dtype=torch.int64),
        "score": torch.zeros(0),
        "box": torch.zeros(0, 4),
    }
    return {name: torch.cat([none, *(row[name] for row in rows)]) for name, none in empty.items()}


def _thinned(
    found: dict[str, Tensor], num_images: int, options: DetectorOptions
) -> dict[str, Tensor]:
    """The best detections of each class over all images, without those that overlap better ones."""
    kept = []
    most = options.per_class * num_images
    for number in found["class_number"].unique().tolist():
        chosen = torch.nonzero(found["class_number"] == number).flatten()
        if most and len(chosen) > most:
            threshold = found["score"][chosen].topk(most).values[-1]
            chosen = chosen[found["score"][chosen] > threshold]
        image = found["image"][chosen]
        order = torch.argsort(image, stable=True)
        counts = torch.bincount(image, minlength=num_images).tolist()
        for rows in chosen[order].split(counts):
            kept.append(rows[suppressed(found["box"][rows], found["score"][rows], options.overlap)])
    rows = torch.cat(kept) if kept else torch.zeros(0, dtype=torch.int64)
    rows = rows[torch.argsort(found["image"][rows], stable=True)]
    return {name: values[rows] for name, values in found.items()}


def suppressed(boxes: Tensor, scores: Tensor, overlap: float) -> Tensor:
    """Numbers of the boxes that no better-scored one overlaps, the best first.

    Args:
        boxes: (n, 4).
        scores: (n,).
        overlap: IoU above which the worse of two boxes goes, widths and heights + 1.
    """
    # Torchvision's boxes end behind the last pixel, so that one more is the widths + 1 of VOC.
    return nms(boxes + boxes.new_tensor([0, 0, 1, 1]), scores, overlap)
