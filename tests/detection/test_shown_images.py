"""The page of a detector: its curves, and the images in which it did best and worst."""

import numpy as np
import pytest

from quarterturn.data.sources import open_source
from quarterturn.detection.shown_images import best_and_worst, image_scores, overlap
from quarterturn.pages.precision_recall import curve, precision_recall_curves
from quarterturn.pages.report import write_report
from quarterturn.runs import Run
from quarterturn.runs.detection_records import (
    ClassDetection,
    Detections,
    read_detection_result,
    read_detections,
)


def detections(found, true) -> Detections:
    """Of rows (image, class, score, box) and (image, class, difficult, box), in four images."""
    return Detections(
        names=np.array([f"{i}.png" for i in range(4)]),
        sizes=np.full((4, 2), 50),
        image=np.array([row[0] for row in found], np.int64),
        class_number=np.array([row[1] for row in found], np.int64),
        score=np.array([row[2] for row in found], np.float32),
        box=np.array([row[3] for row in found], np.float32).reshape(-1, 4),
        true_image=np.array([row[0] for row in true], np.int64),
        true_class=np.array([row[1] for row in true], np.int64),
        true_box=np.array([row[3] for row in true], np.float64).reshape(-1, 4),
        true_difficult=np.array([row[2] for row in true], np.bool_),
    )


LEFT, RIGHT = (0, 0, 9, 9), (20, 20, 29, 29)


def test_overlap_counts_pixels():
    others = np.array([LEFT, RIGHT, (0, 0, 9, 4), (5, 0, 14, 9)])
    assert overlap(np.array(LEFT), others).tolist() == pytest.approx([1, 0, 0.5, 1 / 3])
    assert overlap(np.array(LEFT), np.zeros((0, 4))).shape == (0,)


def test_images_are_ordered_by_what_was_found_in_them():
    true = [(0, 0, False, LEFT), (0, 1, False, RIGHT), (1, 0, False, LEFT), (2, 0, True, LEFT)]
    true += [(3, 0, False, LEFT), (3, 1, True, RIGHT)]
    found = [
        (0, 0, 0.9, LEFT),
        (0, 0, 0.8, LEFT),  # twice the same object
        (0, 0, 0.7, RIGHT),  # of another class
        (0, 1, 0.4, RIGHT),  # too unsure to be shown
        (2, 0, 0.9, LEFT),  # in an image whose only object does not count
        (3, 0, 0.9, LEFT),
        (3, 1, 0.9, RIGHT),  # difficult: neither found nor mistaken
    ]
    scores = image_scores(detections(found, true), 0.5)
    assert [(s.image, s.found, s.objects, s.mistaken) for s in scores] == [
        (3, 1, 1, 0),
        (0, 1, 2, 2),
        (1, 0, 1, 0),
    ]
    assert [s.f1 for s in scores] == [1, 2 / 5, 0]


def test_a_curve_begins_at_recall_zero():
    one = ClassDetection("cat", 3, 2, 0, 5, 0.5, 0.5, (0.5, 1.0), (1.0, 0.4))
    assert curve(one) == ([0, 0.5, 1.0], [1.0, 1.0, 0.4])
    assert curve(ClassDetection("dog", 3, 2, 0, 0, 0.0, 0.0)) == ([0, 1], [0, 0])


def test_the_page_shows_curves_tables_and_boxes(detector_run: Run):
    result = read_detection_result(detector_run.path)
    page = write_report(detector_run).read_text()
    for words in ("AP, 11 points", "AP, area", "Precision and recall of each class"):
        assert words in page
    for which in ("Best images", "Worst images"):
        assert which in page
    for name in result.class_names:
        assert name in page
    # A dark page inverts charts; photographs must stay as they are.
    assert page.count('class="chart wide photos"') == 2
    assert ".chart:not(.photos) img { filter: invert(1)" in page
    text = " ".join(page.split())
    assert "for 40 iterations, on whole images with short sides of 64 to 80 pixels, in" in text
    assert "epochs, on crops" not in text
    figure = precision_recall_curves(result)
    assert list(figure.data) == result.class_names
    assert "at 11 points and" in figure.alt


def test_best_images_are_better_than_the_worst(detector_run: Run, boxed_tree):
    found = read_detections(detector_run.path)
    images = open_source(f"voc:{boxed_tree}").test
    best, worst = best_and_worst(found, images, detector_run.class_names, 0.5)
    assert (best.name, worst.name) == ("best-images", "worst-images")
    assert len(best.data["images"]) == len(worst.data["images"]) > 0
    assert not set(best.data["images"]) & set(worst.data["images"])
    assert sum(best.data["found"]) >= sum(worst.data["found"])
