"""Files that are replaced while they are read: counted and reported."""

import os

import pytest
import torch

from quarterturn.config import DataConfig
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.sources import open_source

from .pictures import save_photo

CROP = DataConfig(image_size=16)


@pytest.fixture
def images(tmp_path):
    for i in range(12):
        save_photo(tmp_path / f"{i:02d}.png", i, 20, 24)
    return open_source(str(tmp_path)).train


def replace_some(images):
    save_photo(images.path(3), 99, 20, 24)  # another size
    about = os.stat(images.path(7))
    os.utime(images.path(7), ns=(about.st_atime_ns, about.st_mtime_ns + 1))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_counts_what_has_changed(images, workers):
    batches = TrainingBatches(images, CROP, batch_size=4, seed=0, workers=workers)
    assert sum(len(batch) for batch in batches.epoch(0)) == 12
    assert batches.changed == set()
    replace_some(images)
    assert sum(len(batch) for batch in batches.epoch(1)) == 12
    assert batches.changed == {3, 7}


def test_an_evaluation_warns_of_what_has_changed(images, caplog):
    assert len(torch.cat([b.indices for b in evaluation_batches(images, CROP)])) == 12
    assert not caplog.records
    replace_some(images)
    assert len(torch.cat([b.indices for b in evaluation_batches(images, CROP)])) == 12
    assert "2 of 12 image files changed while they were read, such as 03.png" in caplog.text


def test_subsets_compare_with_what_was_first_seen(images):
    replace_some(images)
    part = images.subset(torch.tensor([3, 4, 7]).numpy())
    assert part.note([(i, (20, 24), part.stat(i)) for i in range(3)]) == {0, 2}
