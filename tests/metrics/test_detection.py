import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterturn import detection_average_precision
from quarterturn.metrics.detection import box_iou

RULES = ("11-point", "area")
BOX = [10, 10, 19, 19]  # 10 x 10 pixels
FAR = [50, 50, 59, 59]


def shifted(box, by):
    """The box moved right by some pixels."""
    return [box[0] + by, box[1], box[2] + by, box[3]]


def test_boxes_include_their_corners():
    one = np.array([[3.0, 3, 3, 3]])
    assert box_iou(one, one) == 1
    assert box_iou(one, one + 1) == 0
    # 5 of 10 columns shared: 50 / 150.
    assert box_iou(np.array([BOX]), np.array([shifted(BOX, 5)])) == pytest.approx(1 / 3)


def test_overlap_has_to_be_above_the_threshold():
    # 10 x 10 and 5 x 10 within it: exactly one half.
    half = [10, 10, 14, 19]
    assert detection_average_precision([[[*half, 1]]], [[BOX]]) == 0
    assert detection_average_precision([[[*half, 1]]], [[BOX]], iou=0.49) == 1


def test_a_second_detection_of_a_box_is_false():
    detections = [[[*BOX, 0.9], [*shifted(BOX, 1), 0.8], [*FAR, 0.7]]]
    truth = [[BOX, FAR]]
    # Precision 1 at recall 1/2, then 2/3 at recall 1.
    assert detection_average_precision(detections, truth, rule="area") == pytest.approx(5 / 6)
    expected = (6 * 1 + 5 * 2 / 3) / 11
    assert detection_average_precision(detections, truth) == pytest.approx(expected)


def test_the_better_score_takes_the_box_whatever_its_overlap():
    detections = [[[*BOX, 0.1], [*shifted(BOX, 2), 0.9]]]
    # The first to claim it is right, the exact one comes second: one hit, then one false.
    assert detection_average_precision(detections, [[BOX]], rule="area") == 1


def test_a_detection_of_the_best_box_takes_no_other():
    near = shifted(BOX, 1)
    # Both detections overlap BOX most, though the second would fit NEAR too.
    detections = [[[*BOX, 0.9], [*BOX, 0.8]]]
    found = detection_average_precision(detections, [[BOX, near]], rule="area")
    assert found == pytest.approx(1 / 2)


def test_difficult_boxes_count_neither_way():
    difficult = [[[*BOX, 0], [*FAR, 1]]]
    plain = detection_average_precision([[[*BOX, 0.5]]], difficult)
    found_too = detection_average_precision([[[*FAR, 0.9], [*FAR, 0.8], [*BOX, 0.5]]], difficult)
    assert plain == found_too == 1
    # As a true box it would have been half of the positives.
    assert detection_average_precision([[[*BOX, 0.5]]], [[BOX, FAR]], rule="area") == 0.5


def test_detections_belong_to_their_own_image():
    detections = [[[*BOX, 0.9]], [[*FAR, 0.8]]]
    assert detection_average_precision(detections, [[FAR], [BOX]]) == 0
    assert detection_average_precision(detections, [[BOX], [FAR]]) == 1


def test_no_detections_are_zero():
    for rule in RULES:
        assert detection_average_precision([[], []], [[BOX], []], rule=rule) == 0


def test_images_without_boxes_add_false_positives():
    detections = [[[*BOX, 0.5]], [[*BOX, 0.9]]]
    assert detection_average_precision(detections, [[BOX], []], rule="area") == 0.5


@pytest.mark.parametrize(
    ("detections", "truth", "options", "message"),
    [
        ([[]], [[], []], {}, "of 1 images and ground_truth of 2"),
        ([[]], [[]], {}, "none in 1 images"),
        ([[]], [[[*BOX, 1]]], {}, "not difficult"),
        ([[BOX]], [[BOX]], {}, r"detections\[0\] must be \(n, 5\), found \(1, 4\)"),
        ([[[*BOX, np.nan]]], [[BOX]], {}, r"detections\[0\] has a value that is not finite"),
        ([[]], [[[np.nan, 0, 1, 1]]], {}, r"ground_truth\[0\] has a value"),
        ([[]], [[[19, 10, 10, 19]]], {}, r"the box \[19.0, 10.0, 10.0, 19.0\]"),
        ([[]], [[BOX]], {"rule": "step"}, "'step'; expected one of 11-point, area"),
    ],
)
def test_bad_arguments_are_named(detections, truth, options, message):
    with pytest.raises(ValueError, match=message):
        detection_average_precision(detections, truth, **options)


def random_images(rng, num_images=30):
    """Detections near true boxes, and others, of a random class."""
    detections, truth = [], []
    for _ in range(num_images):
        corners = rng.integers(0, 400, (rng.integers(1, 5), 2))
        boxes = np.hstack([corners, corners + rng.integers(30, 120, corners.shape)]).astype(float)
        found = boxes.repeat(2, axis=0) + rng.integers(-25, 26, (2 * len(boxes), 4))
        found = np.clip(found, 0, None)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        detections.append(np.hstack([found, rng.random((len(found), 1))]))
        truth.append(boxes)
    return detections, truth


@pytest.mark.filterwarnings("ignore")  # of pandas and of the library, about each other
def test_both_rules_are_those_of_mean_average_precision(rng):
    library = pytest.importorskip("mean_average_precision")
    detections, truth = random_images(rng)
    metric = library.MetricBuilder.build_evaluation_metric("map_2d", num_classes=1)
    for found, boxes in zip(detections, truth, strict=True):
        zeros = np.zeros((len(found), 1))
        metric.add(
            np.hstack([found[:, :4], zeros, found[:, 4:]]),
            np.hstack([boxes, np.zeros((len(boxes), 3))]),
        )
    levels = {"11-point": {"recall_thresholds": np.linspace(0, 1, 11)}, "area": {}}
    for rule, options in levels.items():
        expected = metric.value(iou_thresholds=0.5, **options)["mAP"]
        found = detection_average_precision(detections, truth, rule=rule)
        assert 0.2 < expected < 0.9
        assert found == pytest.approx(float(expected), abs=1e-6), rule


def test_eleven_points_are_near_those_of_pycocotools(rng):
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    detections, truth = random_images(rng)
    images = [{"id": i} for i in range(1, len(truth) + 1)]

    def as_coco(boxes, **fields):
        low, high = np.array(boxes[:2]), np.array(boxes[2:4])
        size = high - low + 1
        return {
            "bbox": [*low.tolist(), *size.tolist()],
            "area": float(size.prod()),
            "category_id": 1,
            **fields,
        }

    with contextlib.redirect_stdout(io.StringIO()):
        dataset = coco.COCO()
        boxes = [(i, box) for i, found in enumerate(truth, 1) for box in found]
        dataset.dataset = {
            "images": images,
            "categories": [{"id": 1}],
            "annotations": [
                as_coco(box, id=n, image_id=i, iscrowd=0) for n, (i, box) in enumerate(boxes, 1)
            ],
        }
        dataset.createIndex()
        results = dataset.loadRes(
            [
                as_coco(row, image_id=i, score=float(row[4]))
                for i, found in enumerate(detections, 1)
                for row in found
            ]
        )
        evaluation = cocoeval.COCOeval(dataset, results, "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.recThrs = np.linspace(0, 1, 11)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, 0, 0, 2]  # all areas, 100 detections an image
    found = detection_average_precision(detections, truth)
    assert found == pytest.approx(float(precision.mean()), abs=0.001)
    assert 0.2 < found < 0.9


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_a_false_detection_never_helps(seed):
    rng = np.random.default_rng(seed)
    detections, truth = random_images(rng, 4)
    for rule in RULES:
        before = detection_average_precision(detections, truth, rule=rule)
        worse = [np.vstack([found, [900, 900, 950, 950, rng.random()]]) for found in detections]
        assert detection_average_precision(worse, truth, rule=rule) <= before + 1e-12
        best = [np.hstack([boxes, np.ones((len(boxes), 1))]) for boxes in truth]
        assert detection_average_precision(best, truth, rule=rule) == 1
