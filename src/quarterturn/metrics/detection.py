"""Average precision of detections of one class, as PASCAL VOC measures it.

Shapes: d detections and g true boxes in an image. Boxes are (x1, y1, x2, y2) in pixels, corners
included, so that a box of one pixel has the area 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quarterturn.metrics.average_precision import area, detection_curve

DetectionRule = Literal["11-point", "area"]


def detection_average_precision(
    detections: Sequence[ArrayLike],
    ground_truth: Sequence[ArrayLike],
    iou: float = 0.5,
    rule: DetectionRule = "11-point",
) -> float:
    """Average precision of the detections of one class in several images.

    A detection belongs to the true box of its image that it overlaps most. If their IoU is above
    ``iou``, it is a true positive, or a false one where a better-scored detection has taken that
    box; if that box is difficult, it counts neither way. All others are false positives. Difficult
    boxes do not count as positives. Areas and overlaps have 1 added to widths and heights, as in
    the development kit of VOC2007 (Everingham et al., IJCV 2010).

    Args:
        detections: For each image (d, 5): boxes and their scores.
        ground_truth: For each image (g, 4) boxes, or (g, 5): boxes and whether they are difficult,
            1 or 0.
        iou: Least overlap, itself excluded.
        rule: ``11-point`` (VOC2007), or ``area`` under the envelope of the precision-recall curve
            (since VOC2010).

    Raises:
        ValueError: Shapes do not fit, a box is reversed or a value not finite, the rule is not
            known, or no box counts as positive, so that average precision is not defined.
    """
    if rule not in get_args(DetectionRule):
        raise ValueError(f"rule is {rule!r}; expected one of {', '.join(get_args(DetectionRule))}")
    if len(detections) != len(ground_truth):
        raise ValueError(
            f"detections are of {len(detections)} images and ground_truth of {len(ground_truth)}; "
            "expected one array per image in both"
        )
    scores, positive, positives = [], [], 0
    for image, (found, true) in enumerate(zip(detections, ground_truth, strict=True)):
        detected = _boxes("detections", image, found, (5,))
        truth = _boxes("ground_truth", image, true, (4, 5))
        difficult = truth[:, 4] != 0 if truth.shape[1] == 5 else np.zeros(len(truth), dtype=bool)
        positives += int((~difficult).sum())
        is_hit, counts = match(detected, truth[:, :4], difficult, iou)
        scores.append(detected[counts, 4])
        positive.append(is_hit[counts])
    if not positives:
        raise ValueError(
            f"average precision needs a true box that is not difficult; there are none in "
            f"{len(ground_truth)} images"
        )
    curve = detection_curve(np.concatenate(scores), np.concatenate(positive), positives)
    return area(curve, "11-point" if rule == "11-point" else "envelope")


def match(
    detections: NDArray[np.float64],
    boxes: NDArray[np.float64],
    difficult: NDArray[np.bool_],
    iou: float,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detections of one image are true positives, and which count at all.

    Args:
        detections: (d, 5) boxes and scores.
        boxes: (g, 4) true boxes.
        difficult: (g,) whether each is difficult.
        iou: See `detection_average_precision`.

    Returns:
        (d,) true positives, and (d,) those that are not ignored.
    """
    is_hit, counts = np.zeros(len(detections), dtype=bool), np.ones(len(detections), dtype=bool)
    if not len(boxes):
        return is_hit, counts
    overlaps = box_iou(detections[:, :4], boxes)
    best, taken = overlaps.argmax(axis=1), np.zeros(len(boxes), dtype=bool)
    for d in np.argsort(-detections[:, 4], kind="stable"):
        box = best[d]
        if overlaps[d, box] <= iou:
            continue
        if difficult[box]:
            counts[d] = False
        else:
            is_hit[d], taken[box] = not taken[box], True
    return is_hit, counts


def box_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(a, b) intersection over union of (a, 4) and (b, 4) boxes, widths and heights + 1."""
    low = np.maximum(first[:, None, :2], second[:, :2])
    high = np.minimum(first[:, None, 2:], second[:, 2:])
    shared = np.clip(high - low + 1, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1] - shared)


def _boxes(
    name: str, image: int, values: ArrayLike, widths: tuple[int, ...]
) -> NDArray[np.float64]:
    """The boxes of an image as float64, checked; an empty list is no boxes."""
    boxes = np.asarray(values, dtype=np.float64)
    if boxes.size == 0:
        boxes = np.zeros((0, widths[-1]))
    if boxes.ndim != 2 or boxes.shape[1] not in widths:
        expected = " or ".join(f"(n, {width})" for width in widths)
        raise ValueError(f"{name}[{image}] must be {expected}, found {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise ValueError(f"{name}[{image}] has a value that is not finite")
    if (reversed_ := (boxes[:, 2:4] < boxes[:, :2]).any(axis=1)).any():
        raise ValueError(
            f"{name}[{image}] has the box {boxes[reversed_][0, :4].tolist()}; expected "
            "x1 <= x2 and y1 <= y2"
        )
    return boxes
