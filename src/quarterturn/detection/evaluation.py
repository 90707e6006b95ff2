"""How well a detector finds the objects in its test images.

Shapes: N images; C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.imageset import ImageSet
from quarterturn.data.voc_objects import ObjectsOfImages
from quarterturn.detection.finding import Found
from quarterturn.metrics.average_precision import area, detection_curve
from quarterturn.metrics.detection import box_iou, match
from quarterturn.runs.detection_records import ClassDetection, Detections

IOU = 0.5
"""Overlap above which a detection has found an object."""


@dataclass(frozen=True)
class ProposalFigures:
    """What proposals are worth.

    Attributes:
        per_image: Their mean number.
        recall: Share of the boxes that count with a proposal whose IoU is above `IOU`.
    """

    per_image: float
    recall: float


def detections_of(found: Found, images: ImageSet, objects: ObjectsOfImages) -> Detections:
    """What was found beside what is there. Images that could not be read have neither.

    Args:
        found: By `quarterturn.detection.finding.find_objects`.
        images: The N images.
        objects: What is in them.
    """
    read = [number not in found.failed for number in range(len(images))]
    each = [o for o, is_read in zip(objects.images, read, strict=True) if is_read]
    counts = [len(o) * is_read for o, is_read in zip(objects.images, read, strict=True)]
    return Detections(
        names=np.array(list(images.names), dtype=np.str_),
        sizes=found.sizes,
        image=found.image,
        class_number=found.class_number,
        score=found.score,
        box=found.box,
        true_image=np.repeat(np.arange(len(images)), counts),
        true_class=np.concatenate([np.zeros(0, np.int64), *(o.classes for o in each)]),
        true_box=np.concatenate([np.zeros((0, 4)), *(o.boxes for o in each)]),
        true_difficult=np.concatenate([np.zeros(0, np.bool_), *(o.difficult for o in each)]),
    )


def class_figures(
    detections: Detections, class_names: Sequence[str], training_boxes: NDArray[np.int64]
) -> tuple[ClassDetection, ...]:
    """Average precision and curve of each class, by the rules of VOC.

    Args:
        detections: What was found, and what is there.
        class_names: (C,) names.
        training_boxes: (C,) boxes in the training images.
    """
    figures = []
    for number, name in enumerate(class_names):
        found, truth = detections.of_class(number)
        scores, hits, positives, difficult = [], [], 0, 0
        for detected, true in zip(found, truth, strict=True):
            is_difficult = true[:, 4] != 0
            is_hit, counts = match(detected, true[:, :4], is_difficult, IOU)
            scores.append(detected[counts, 4])
            hits.append(is_hit[counts])
            positives += int((~is_difficult).sum())
            difficult += int(is_difficult.sum())
        curve = detection_curve(np.concatenate(scores), np.concatenate(hits), positives)
        rises = np.flatnonzero(np.diff(curve.true_positives, prepend=0) > 0)
        figures.append(
            ClassDetection(
                name=name,
                training_boxes=int(training_boxes[number]),
                test_boxes=positives,
                difficult_boxes=difficult,
                detections=sum(map(len, found)),
                ap_11_point=area(curve, "11-point"),
                ap_area=area(curve, "envelope"),
                recall=tuple(curve.recall[rises].tolist()),
                precision=tuple(curve.precision[rises].tolist()),
            )
        )
    return tuple(figures)


def proposal_figures(
    proposals: Sequence[NDArray[np.float32]], objects: ObjectsOfImages
) -> ProposalFigures:
    """What the proposals of N images are worth, by the boxes in them that are not difficult."""
    covered = boxes = 0
    for proposed, of_image in zip(proposals, objects.images, strict=True):
        counted = of_image.boxes[~of_image.difficult]
        if len(counted):
            best = box_iou(counted, proposed.astype(np.float64)).max(axis=1)
            covered += int((best > IOU).sum())
            boxes += len(counted)
    return ProposalFigures(
        float(np.mean([len(each) for each in proposals])), covered / max(1, boxes)
    )
