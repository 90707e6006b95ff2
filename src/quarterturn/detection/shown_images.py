"""The test images in which a detector did best and worst, drawn with their boxes.

Shapes: n detections and g true boxes of one image. Boxes are (x1, y1, x2, y2) in pixels, corners
included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from quarterturn.data.imageset import ImageSet
from quarterturn.pages.figures import COLOURS, PAGE_WIDTH_INCHES, STYLE, Figure, to_png
from quarterturn.pages.tables import percent
from quarterturn.runs.detection_records import Detections

SHOWN_FROM = 0.5
"""Score from which detections are drawn and counted."""
IMAGES = 4
COLUMNS = 2
TITLE_INCHES = 0.3
LONGEST_SIDE = 640
"""Pixels that a drawn image is decoded to at most, or a little more."""
TRUE = "#1d9a5b"


@dataclass(frozen=True)
class ImageScore:
    """How well one image was done.

    Attributes:
        image: Its number.
        found: Objects that a detection found.
        objects: Objects that count.
        mistaken: Detections that found none.
    """

    image: int
    found: int
    objects: int
    mistaken: int

    @property
    def f1(self) -> float:
        """Twice the objects found, over all objects and all detections; 1 is perfect."""
        return 2 * self.found / (self.objects + self.found + self.mistaken)


def image_scores(detections: Detections, iou: float) -> list[ImageScore]:
    """The images that have an object that counts, the best first."""
    scores = []
    for image in range(len(detections.names)):
        true = (detections.true_image == image) & ~detections.true_difficult
        if true.any():
            scores.append(_score(detections, image, iou))
    return sorted(scores, key=lambda each: (-each.f1, -each.objects, each.image))


def best_and_worst(
    detections: Detections, images: ImageSet, class_names: Sequence[str], iou: float
) -> list[Figure]:
    """Figures of the best and the worst images; none where no image has an object."""
    scores = image_scores(detections, iou)
    half = min(IMAGES, len(scores) // 2)
    chosen = {"best": scores[:half], "worst": scores[::-1][:half]}
    return [
        _figure(which, of, detections, images, class_names) for which, of in chosen.items() if of
    ]


def _score(detections: Detections, image: int, iou: float) -> ImageScore:
    shown = np.flatnonzero((detections.image == image) & (detections.score >= SHOWN_FROM))
    there = np.flatnonzero(detections.true_image == image)
    taken: set[int] = set()
    mistaken = 0
    for row in shown[np.argsort(-detections.score[shown], kind="stable")]:
        same = there[detections.true_class[there] == detections.class_number[row]]
        overlaps = overlap(detections.box[row], detections.true_box[same])
        best = int(same[overlaps.argmax()]) if len(same) else -1
        if best < 0 or overlaps.max() <= iou or best in taken:
            mistaken += 1
        elif not detections.true_difficult[best]:
            taken.add(best)
    counted = int((~detections.true_difficult[there]).sum())
    return ImageScore(image, len(taken), counted, mistaken)


def overlap(box: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """(4,) box and (g, 4) others to their (g,) IoU, widths and heights + 1."""
    if not len(others):
        return np.zeros(0)
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.clip(high - low + 1, 0, None).prod(axis=1)
    areas = [np.clip(b[..., 2:] - b[..., :2] + 1, 0, None).prod(axis=-1) for b in (box, others)]
    return common / (areas[0] + areas[1] - common)


def _figure(
    which: str,
    scores: Sequence[ImageScore],
    detections: Detections,
    images: ImageSet,
    class_names: Sequence[str],
) -> Figure:
    tallest = max(height / width for height, width in detections.sizes[[s.image for s in scores]])
    rows = -(-len(scores) // COLUMNS)
    row_inches = PAGE_WIDTH_INCHES / COLUMNS * min(1.5, tallest) + TITLE_INCHES
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        drawing = Drawing(figsize=(PAGE_WIDTH_INCHES, rows * row_inches))
        drawing.set_layout_engine("constrained")
        grid = drawing.subplots(rows, COLUMNS, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for score, axes in zip(scores, grid.flat[: len(scores)], strict=True):
            pixels, (height, width) = images.read_sized(
                score.image, lambda size: max(1.0, max(size) / LONGEST_SIDE)
            )
            # Boxes are in pixels of the whole image, whatever it was decoded to.
            axes.imshow(np.asarray(pixels), extent=(-0.5, width - 0.5, height - 0.5, -0.5))
            draw_boxes(axes, detections, score.image, class_names)
            axes.set_title(f"{score.found} of {score.objects} found, {score.mistaken} mistaken")
        png = to_png(drawing)
    names = [str(detections.names[score.image]) for score in scores]
    return Figure(
        f"{which}-images",
        f"{which.capitalize()} images",
        f"True boxes are green, difficult ones dashed; detections of a score of {SHOWN_FROM:g} and "
        "more are orange, with class and score. Images are ordered by F1: twice the objects found, "
        "over all objects and detections.",
        png,
        {
            "images": names,
            "found": [score.found for score in scores],
            "objects": [score.objects for score in scores],
            "mistaken": [score.mistaken for score in scores],
        },
        "; ".join(
            f"{name}: {score.found} of {score.objects} found, {score.mistaken} mistaken"
            for name, score in zip(names, scores, strict=True)
        ),
        wide=True,
        photos=True,
    )


def draw_boxes(axes: Any, detections: Detections, image: int, class_names: Sequence[str]) -> None:
    """Draw the true boxes of an image, and its surer detections, on matplotlib's axes."""
    for row in np.flatnonzero(detections.true_image == image):
        style = "--" if detections.true_difficult[row] else "-"
        axes.add_patch(_rectangle(detections.true_box[row], TRUE, style))
    for row in np.flatnonzero((detections.image == image) & (detections.score >= SHOWN_FROM)):
        box = detections.box[row]
        axes.add_patch(_rectangle(box, COLOURS["invariance"], "-"))
        words = (
            f"{class_names[detections.class_number[row]]} {percent(float(detections.score[row]))}"
        )
        axes.text(
            box[0],
            box[1],
            words,
            color="white",
            fontsize=7,
            clip_on=True,
            va="bottom",
            bbox={"facecolor": COLOURS["invariance"], "pad": 0.8, "linewidth": 0},
        )


def _rectangle(box: NDArray[Any], colour: str, style: str) -> Rectangle:
    x1, y1, x2, y2 = map(float, box)
    return Rectangle(
        (x1 - 0.5, y1 - 0.5),
        x2 - x1 + 1,
        y2 - y1 + 1,
        fill=False,
        edgecolor=colour,
        linestyle=style,
    )
