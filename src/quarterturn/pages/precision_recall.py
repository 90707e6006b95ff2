"""The precision-recall curves of a detector, class by class."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import PercentFormatter

from quarterturn.pages.figures import COLOURS, FAINT, PAGE_WIDTH_INCHES, STYLE, Figure, to_png
from quarterturn.pages.tables import percent
from quarterturn.runs.detection_records import ClassDetection, DetectionResult

COLUMNS = 3
ROW_INCHES = 1.35


def precision_recall_curves(result: DetectionResult) -> Figure:
    """A panel for each class: precision over recall, with its average precision by both rules."""
    classes = result.classes
    columns = min(COLUMNS, len(classes))
    rows = -(-len(classes) // columns)
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(PAGE_WIDTH_INCHES, ROW_INCHES * rows + 0.5))
        drawing.set_layout_engine("constrained")
        grid = drawing.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for number, axes in enumerate(grid.flat):
            if number >= len(classes):
                axes.set_visible(False)
                continue
            recall, precision = curve(classes[number])
            axes.plot(recall, precision, color=COLOURS["rotation"], drawstyle="steps-post")
            axes.set_title(f"{classes[number].name}, {percent(classes[number].ap_11_point)}")
            axes.set_xlim(0, 1.02)
            axes.set_ylim(0, 1.05)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
                axis.set_ticks([0, 0.5, 1])
        drawing.supxlabel("recall", color=FAINT, fontsize=9)
        drawing.supylabel("precision", color=FAINT, fontsize=9)
        png = to_png(drawing)
    points: dict[str, Any] = {}
    for each in classes:
        points[each.name] = dict(zip(("recall", "precision"), curve(each), strict=True))
    words = ", ".join(
        f"{each.name} {percent(each.ap_11_point)} at 11 points and {percent(each.ap_area)} by area"
        for each in classes
    )
    return Figure(
        "precision-recall",
        "Precision and recall of each class",
        "Precision is the share of the detections down to a score that found an object, recall the "
        f"share of the objects that they found, at an IoU above {result.iou:g}. Behind the name: "
        "average precision at 11 points, the rule of VOC2007.",
        png,
        points,
        f"Average precision: {words}",
        wide=True,
    )


def curve(found: ClassDetection) -> tuple[list[float], list[float]]:
    """Recalls and precisions of a class's curve, from recall 0; 0 where nothing was found."""
    if not found.recall:
        return [0.0, 1.0], [0.0, 0.0]
    return [0.0, *found.recall], [found.precision[0], *found.precision]
