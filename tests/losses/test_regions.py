import numpy as np
import pytest
import torch

from quarterturn.losses.regions import region_losses

REGIONS, CLASSES = 40, 5


def smooth_l1(difference: np.ndarray) -> np.ndarray:
    size = np.abs(difference)
    return np.where(size < 1, 0.5 * size**2, size - 0.5)


@pytest.fixture
def drawn(rng):
    scores = rng.normal(size=(REGIONS, CLASSES + 1))
    offsets = rng.normal(scale=1.5, size=(REGIONS, 4 * (CLASSES + 1)))
    classes = rng.integers(0, CLASSES + 1, REGIONS)
    return scores, offsets, classes, rng.normal(scale=1.5, size=(REGIONS, 4))


def losses(scores, offsets, classes, targets):
    values = (torch.from_numpy(np.asarray(v)) for v in (scores, offsets))
    found = region_losses(*values, torch.from_numpy(classes), torch.from_numpy(targets).float())
    return {name: float(value) for name, value in found.items()}


def test_terms_equal_a_plain_numpy_version(drawn):
    scores, offsets, classes, targets = drawn
    log_probability = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    boxes = sum(
        smooth_l1(offsets[i, 4 * c : 4 * c + 4] - targets[i]).sum()
        for i, c in enumerate(classes)
        if c > 0
    )
    found = losses(*drawn)
    assert found["classification"] == pytest.approx(
        -log_probability[np.arange(REGIONS), classes].mean(), rel=1e-5
    )
    # Over all regions, those of the background among them.
    assert found["boxes"] == pytest.approx(boxes / REGIONS, rel=1e-5)
    assert smooth_l1(targets).max() > 1 > smooth_l1(targets).min()  # both branches were met


def test_the_background_has_no_box(drawn):
    scores, offsets, classes, targets = drawn
    assert losses(scores, offsets, np.zeros_like(classes), targets)["boxes"] == 0


def test_no_regions_cost_nothing():
    empty = region_losses(
        torch.zeros(0, 3), torch.zeros(0, 12), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)
    )
    assert [float(value) for value in empty.values()] == [0, 0]
