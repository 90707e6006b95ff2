import dataclasses

import numpy as np
import pytest
import torch

from quarterturn.data.region_boxes import mirrored, moved, offsets_between
from quarterturn.data.voc_objects import Objects
from quarterturn.detection.training_regions import TrainingRegions, offset_statistics, sample
from quarterturn.methods.detector_options import DetectorOptions

OPTIONS = DetectorOptions()


def objects(*boxes, classes=None, difficult=None):
    number = len(boxes)
    return Objects(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(classes or [0] * number, np.int64),
        np.array(difficult or [False] * number),
    )


def random_boxes(rng, number):
    corners = rng.uniform(0, 80, (number, 2))
    return np.hstack([corners, corners + rng.uniform(5, 40, (number, 2))]).astype(np.float32)


def test_regions_know_their_object():
    # 10 x 10 px and shifted by 5: 50 of 150 px are shared, by widths + 1.
    proposals = np.array([[5, 0, 14, 9], [0, 0, 9, 9], [50, 50, 60, 60]], np.float32)
    found = TrainingRegions.of(objects([0, 0, 9, 9], [0, 0, 3, 3], classes=[2, 0]), proposals)
    assert found.overlaps.tolist() == pytest.approx([1, 1, 1 / 3, 1, 0])
    assert found.classes.tolist() == [3, 1, 3, 3, 0]  # counted from 1; 0 is the background


def test_an_image_without_objects_has_only_background(rng):
    found = TrainingRegions.of(objects(), random_boxes(rng, 5))
    assert found.classes.tolist() == [0] * 5
    assert found.overlaps.tolist() == [0] * 5
    assert len(sample(found.overlaps, OPTIONS, 0, 0, 0)) == 0  # all are too easy


def test_a_sample_has_at_most_sixteen_on_objects():
    overlaps = np.concatenate(
        [np.full(40, 0.5), np.full(500, 0.3), np.full(60, 0.1), np.full(700, 0.0999)]
    ).astype(np.float32)
    chosen = sample(overlaps, OPTIONS, 0, 3, 7)
    assert len(chosen) == len(set(chosen.tolist())) == 64
    assert (overlaps[chosen] >= 0.5).sum() == (overlaps[chosen[:16]] >= 0.5).sum() == 16
    assert (overlaps[chosen] >= 0.1).all()


@pytest.mark.parametrize(("on_objects", "background", "expected"), [(3, 80, 64), (30, 5, 21)])
def test_a_sample_is_smaller_where_regions_are_few(on_objects, background, expected):
    overlaps = np.repeat([0.8, 0.2], [on_objects, background]).astype(np.float32)
    chosen = sample(overlaps, OPTIONS, 0, 0, 0)
    assert len(chosen) == expected
    assert (overlaps[chosen] >= 0.5).sum() == min(16, on_objects)


def test_a_sample_depends_on_seed_step_and_image():
    overlaps = np.linspace(0, 1, 400, dtype=np.float32)
    first = sample(overlaps, OPTIONS, 1, 2, 3).tolist()
    assert sample(overlaps, OPTIONS, 1, 2, 3).tolist() == first
    others = [(2, 2, 3), (1, 3, 3), (1, 2, 4)]
    assert all(sample(overlaps, OPTIONS, *other).tolist() != first for other in others)


def test_every_region_is_drawn_equally_often():
    overlaps = np.repeat([0.7, 0.2], [32, 96]).astype(np.float32)
    counts = np.zeros(128)
    for step in range(400):
        counts[sample(overlaps, OPTIONS, 0, step, 0)] += 1
    assert abs(counts / 400 - 0.5).max() < 0.12  # 16 of 32, and 48 of 96: four deviations are 0.1


def test_offsets_lead_to_the_object(rng):
    boxes, others = (torch.from_numpy(random_boxes(rng, 20)).double() for _ in range(2))
    offsets = offsets_between(boxes, others)
    torch.testing.assert_close(moved(boxes, offsets[:, None])[:, 0], others)
    widths = boxes[:, 2] - boxes[:, 0]
    centres = (others[:, 0] + others[:, 2] - boxes[:, 0] - boxes[:, 2]) / 2
    torch.testing.assert_close(offsets[:, 0], centres / widths)
    torch.testing.assert_close(offsets[:, 2], ((others[:, 2] - others[:, 0]) / widths).log())


def test_mirrored_offsets_have_the_other_sign(rng):
    boxes, others = (torch.from_numpy(random_boxes(rng, 20)).double() for _ in range(2))
    expected = offsets_between(boxes, others) * torch.tensor([-1.0, 1, 1, 1])
    found = offsets_between(mirrored(boxes, 130), mirrored(others, 130))
    torch.testing.assert_close(found, expected)
    assert mirrored(torch.tensor([[0.0, 1, 9, 5]]), 48).tolist() == [[38, 1, 47, 5]]


def test_statistics_are_of_each_class_and_of_mirrored_copies(rng):
    images = []
    for _ in range(12):
        true = random_boxes(rng, 4)
        near = np.repeat(true, 5, axis=0) + rng.normal(0, 1.5, (20, 4)).astype(np.float32)
        images.append(TrainingRegions.of(objects(*true, classes=[0, 1, 1, 0]), near))
    means, deviations = offset_statistics(images, 3, 0.5)
    by_class = {1: [], 2: []}
    for image in images:
        chosen = np.flatnonzero(image.overlaps >= 0.5)
        for row, number in zip(image.offsets(chosen).numpy(), image.classes[chosen], strict=True):
            by_class[number] += [row, row * [-1, 1, 1, 1]]
    for number, rows in by_class.items():
        np.testing.assert_allclose(means[number], np.mean(rows, axis=0), atol=1e-6)
        np.testing.assert_allclose(deviations[number], np.std(rows, axis=0), rtol=1e-5)
    assert means[3].tolist() == [0] * 4  # a class without regions, and the background
    assert deviations[[0, 3]].tolist() == [[1] * 4] * 2


def test_true_boxes_by_themselves_have_no_deviation():
    images = [TrainingRegions.of(objects([0, 0, 9, 9]), np.zeros((0, 4), np.float32))]
    means, deviations = offset_statistics(images, 1, 0.5)
    assert (means[1].tolist(), deviations[1].tolist()) == ([0] * 4, [1] * 4)


def test_overlaps_of_the_two_kinds_do_not_meet():
    overlaps = np.array([0.0, 0.05, 0.3, 0.6], np.float32)
    easier = dataclasses.replace(OPTIONS, background_from=0.0, foreground_from=0.3)
    assert sample(overlaps, OPTIONS, 0, 0, 0).tolist() == [3, 2]
    assert sorted(sample(overlaps, easier, 0, 0, 0).tolist()) == [0, 1, 2, 3]
