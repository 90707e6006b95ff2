import dataclasses

import numpy as np
import pytest
import torch

from quarterturn.data.region_boxes import clipped, moved
from quarterturn.data.sources import open_source
from quarterturn.detection.data import open_detection_data
from quarterturn.detection.detect import _of_images
from quarterturn.detection.finding import _thinned, find_objects, suppressed
from quarterturn.detection.proposals import kept_proposals
from quarterturn.methods.detector_options import DetectorOptions
from quarterturn.metrics.detection import box_iou

OPTIONS = DetectorOptions()


def plain_suppression(boxes, scores, overlap):
    """One box after the other, by IoU with widths + 1."""
    kept = []
    for number in np.argsort(-scores, kind="stable"):
        others = boxes[kept].reshape(-1, 4).astype(float)
        if not (box_iou(boxes[[number]].astype(float), others) > overlap).any():
            kept.append(int(number))
    return kept


def test_suppression_counts_pixels(rng):
    for _ in range(20):
        corners = rng.integers(0, 20, (40, 2))
        boxes = np.hstack([corners, corners + rng.integers(0, 12, (40, 2))]).astype(np.float32)
        scores = rng.permutation(40).astype(np.float32)
        found = suppressed(torch.from_numpy(boxes), torch.from_numpy(scores), 0.31).tolist()
        assert found == plain_suppression(boxes, scores, 0.31)


def test_one_more_in_width_makes_the_difference():
    # Shared 1 of 3 pixels by widths + 1; without, the boxes touch in a line of no area.
    boxes = torch.tensor([[0.0, 0, 1, 0], [1, 0, 2, 0]])
    assert suppressed(boxes, torch.tensor([0.9, 0.8]), 0.3).tolist() == [0]
    assert suppressed(boxes, torch.tensor([0.9, 0.8]), 0.34).tolist() == [0, 1]


def found(image, scores, number=0):
    places = torch.arange(len(scores)).float()[:, None] * 100  # far apart
    return {
        "image": torch.tensor(image),
        "class_number": torch.full((len(scores),), number),
        "score": torch.tensor(scores),
        "box": torch.cat([places, places, places + 9, places + 9], dim=1),
    }


def test_a_threshold_leaves_the_best_of_all_images():
    few = dataclasses.replace(OPTIONS, per_class=2)
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    kept = _thinned(found([0, 0, 0, 0, 1, 1], scores), 2, few)
    # Four detections of two images: those above the fourth score.
    assert kept["score"].tolist() == pytest.approx([0.9, 0.8, 0.7])
    everything = dataclasses.replace(OPTIONS, per_class=0)
    assert len(_thinned(found([0, 0, 0, 0, 1, 1], scores), 2, everything)["score"]) == 6


def test_boxes_of_other_images_and_classes_are_not_suppressed():
    one, other = found([0, 1], [0.9, 0.8]), found([0, 1], [0.7, 0.6], number=1)
    both = {name: torch.cat([one[name], other[name]]) for name in one}
    both["box"] = torch.tensor([[0.0, 0, 9, 9]]).repeat(4, 1)
    assert len(_thinned(both, 2, OPTIONS)["score"]) == 4
    both["image"] = torch.zeros(4, dtype=torch.int64)
    assert _thinned(both, 2, OPTIONS)["class_number"].tolist() == [0, 1]


def test_boxes_are_clipped_to_the_image():
    boxes = torch.tensor([[-3.0, -1, 60, 20], [5, 5, 9, 9]])
    assert clipped(boxes, 36, 48).tolist() == [[0, 0, 47, 20], [5, 5, 9, 9]]


def test_detections_are_regions_moved_by_their_offsets(detector_run, boxed_tree):
    run = detector_run
    network = run.load_network()
    data = open_detection_data(f"voc:{boxed_tree}", run.config.data)
    proposals = _of_images(kept_proposals(run.path), data, "run")["test"].boxes
    objects = find_objects(network, data.test, run.config, proposals)
    assert objects.sizes.tolist() == [[36, 48]] * 12
    assert objects.failed == {}
    # One image by hand: resized, normalised, moved, clipped.
    image = torch.from_numpy(np.array(open_source(f"voc:{boxed_tree}").test.read(4)))
    image = image.permute(2, 0, 1)[None].float()
    image = torch.nn.functional.interpolate(image, (72, 96), mode="bilinear")[0]
    mean, std = (
        torch.tensor(v)[:, None, None] * 255 for v in (run.config.data.mean, run.config.data.std)
    )
    boxes = torch.from_numpy(proposals[4])
    probabilities, offsets = network.predict((image - mean) / std, boxes * 2)
    better = clipped(moved(boxes, offsets), 36, 48)
    mine = objects.image == 4
    assert mine.any()
    for number, score, box in zip(
        objects.class_number[mine], objects.score[mine], objects.box[mine], strict=True
    ):
        of_class = number + 1
        same_score = (probabilities[:, of_class] - score).abs() < 1e-4
        same_box = (better[:, of_class] - torch.from_numpy(box)).abs().amax(dim=1) < 0.05
        assert (same_score & same_box).any()
