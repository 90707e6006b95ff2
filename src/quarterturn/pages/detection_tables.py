"""A detector's figures as tables."""

from __future__ import annotations

from quarterturn.pages.classifier_tables import overlap_words
from quarterturn.pages.tables import Cell, Table, percent
from quarterturn.runs.detection_records import DetectionResult

ELEVEN, AREA = "AP, 11 points", "AP, area"


def detection_table(result: DetectionResult) -> Table:
    """Every class with its boxes and its average precision by both rules; their means last."""
    rows: list[list[Cell]] = [
        [
            each.name,
            each.training_boxes,
            each.test_boxes,
            each.difficult_boxes,
            each.detections,
            each.ap_11_point,
            each.ap_area,
        ]
        for each in result.classes
    ]
    totals = [sum(row[column] for row in rows) for column in range(1, 5)]  # type: ignore[misc]
    rows.append(["all classes, mean AP", *totals, result.mean_ap_11_point, result.mean_ap_area])
    return Table(
        f"Objects found at an IoU above {result.iou:g}",
        ["class", "training boxes", "test boxes", "difficult", "detections", ELEVEN, AREA],
        rows,
        note=_note(result),
    )


def brief_words(result: DetectionResult) -> str:
    """The most important figures on one line."""
    return (
        f"mean AP {percent(result.mean_ap_11_point)} at 11 points, "
        f"{percent(result.mean_ap_area)} by area"
    )


def _note(result: DetectionResult) -> str:
    note = (
        f"{result.test_images:,} test images: {result.test}; 11 points is the rule of VOC2007, "
        "area that of VOC2010 and later; difficult boxes count neither as found nor as missed"
    )
    if result.proposals_per_image is not None and result.recall_of_proposals is not None:
        note += (
            f"; {result.proposals}, {result.proposals_per_image:,.0f} an image, which cover "
            f"{percent(result.recall_of_proposals)} of the test boxes"
        )
    overlap = overlap_words(result.test_images_learned_from, result.test_images_learned_with_labels)
    return note + (f"; {overlap}" if overlap else "")
