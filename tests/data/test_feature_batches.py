import numpy as np
import pytest
import torch

from quarterturn.config import DataConfig
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.feature_batches import FeatureBatches, flat_rows
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.row_subset import RowSubset

from .pictures import noise

M = 40
"""Images whose features there are; every other one takes part."""
ROWS = np.arange(1, M, 2)
LABELS = (ROWS * 7) % 5


@pytest.fixture
def features(tmp_path) -> list[np.ndarray]:
    """A map of 2 x 3 x 3 and a vector of 4, of which the first tells the image's number."""
    maps = np.lib.format.open_memmap(
        tmp_path / "maps.npy", "w+", dtype=np.float32, shape=(M, 2, 3, 3)
    )
    maps[:] = noise(0, M, 2, 3, 3)
    vectors = noise(1, M, 4).astype(np.float32)
    vectors[:, 0] = np.arange(M)
    return [maps, vectors]


def batches_of(features, **options) -> FeatureBatches:
    some = [RowSubset(array, ROWS) for array in features]
    return FeatureBatches(some, LABELS, **({"batch_size": 8, "seed": 3} | options))


def test_features_lie_side_by_side(features):
    found = flat_rows(features, np.array([3, 0]))
    expected = [np.concatenate([features[0][i].ravel(), features[1][i]]) for i in (3, 0)]
    np.testing.assert_array_equal(found.numpy(), np.stack(expected))
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(flat_rows(features[1:], np.array([5])).numpy(), features[1][5:6])


def test_every_row_once_with_its_label(features):
    batches = batches_of(features)
    orders = []
    for epoch in range(2):
        found = list(batches.epoch(epoch))
        assert [len(b) for b in found] == [8, 8, 4]
        assert len(found) == batches.steps_per_epoch
        indices = torch.cat([b.indices for b in found])
        assert sorted(indices.tolist()) == list(range(20))
        numbers = torch.cat([b.images for b in found])[:, 2 * 3 * 3]
        assert numbers.tolist() == ROWS[indices].tolist()
        assert torch.cat([b.labels for b in found]).tolist() == LABELS[indices].tolist()
        orders.append(indices.tolist())
    assert orders[0] != orders[1]
    assert batches.failed == {}


@pytest.mark.parametrize("draws", [None, 50])
def test_the_order_is_that_of_images(features, draws):
    images = ArrayImages(noise(2, 20, 8, 8, 3), [str(i) for i in range(20)], LABELS, list("abcde"))
    crop = DataConfig(image_size=8)
    options = {"batch_size": 8, "seed": 3, "draws": draws}
    of_images = TrainingBatches(images, crop, with_labels=True, **options)
    of_features = batches_of(features, draws=draws)
    assert of_features.steps_per_epoch == of_images.steps_per_epoch
    for one, other in zip(of_features.epoch(2), of_images.epoch(2), strict=True):
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.labels, other.labels)


def test_draws_show_each_as_often_as_any_other(features):
    found = torch.cat([b.indices for b in batches_of(features, draws=50).epoch(0)])
    assert set(torch.bincount(found, minlength=20).tolist()) == {2, 3}


def test_resumes_in_the_middle(features):
    batches = batches_of(features)
    whole = list(batches.epoch(1))
    for first in range(4):
        rest = list(batches.epoch(1, first=first))
        assert [b.indices.tolist() for b in rest] == [b.indices.tolist() for b in whole[first:]]
        assert all(
            torch.equal(a.images, b.images) for a, b in zip(rest, whole[first:], strict=True)
        )


def test_larger_batches_than_there_are_rows(features):
    assert [len(b) for b in batches_of(features, batch_size=100).epoch(0)] == [20]
