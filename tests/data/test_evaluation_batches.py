from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from quarterturn.config import DataConfig
from quarterturn.data.crop_plans import placed_crops
from quarterturn.data.crops import crop_file_image, shrink_for
from quarterturn.data.evaluation_batches import evaluation_batches

from .drawn_crops import centre_crops
from .pictures import truncate

CROP = DataConfig(image_size=16, max_bad_fraction=0.05)
MEAN, STD = torch.tensor(CROP.mean)[:, None, None], torch.tensor(CROP.std)[:, None, None]


@pytest.mark.parametrize("kind", ["files", "arrays"])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_image_in_order_by_its_centre(kind, workers, request):
    images = request.getfixturevalue(kind)
    found = list(evaluation_batches(images, CROP, batch_size=11, workers=workers))
    assert [len(b) for b in found] == [11, 11, 1]
    assert torch.cat([b.indices for b in found]).tolist() == list(range(23))
    assert torch.cat([b.labels for b in found]).tolist() == images.labels.tolist()
    pixels = (torch.cat([b.images for b in found]) * STD + MEAN) * 255
    for i in range(23):
        size = tuple(images.sizes[i].tolist())
        box = centre_crops(torch.tensor([size]), 0.875).boxes[0]
        expected = crop_file_image(images.read(i, shrink_for(box, 16)), size, box, False, 16)
        assert (pixels[i] - expected).abs().max() <= 1.01


@pytest.mark.parametrize("kind", ["files", "arrays"])
@pytest.mark.parametrize("workers", [0, 2])
def test_another_view_of_every_image(kind, workers, request):
    images = request.getfixturevalue(kind)
    view = partial(placed_crops, fraction=0.6, down=1.0, right=0.0, flip=True)
    found = list(evaluation_batches(images, CROP, batch_size=11, workers=workers, view=view))
    assert torch.cat([b.indices for b in found]).tolist() == list(range(23))
    pixels = (torch.cat([b.images for b in found]) * STD + MEAN) * 255
    for i in range(23):
        height, width = images.sizes[i].tolist()
        side = round(0.6 * min(height, width))
        box = (0, height - side, side, height)
        piece = images.read(i).resize((16, 16), Image.Resampling.BILINEAR, box=box)
        expected = np.asarray(piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        assert np.abs(pixels[i].permute(1, 2, 0).numpy() - expected).max() <= 1.01


def test_without_labels(arrays):
    arrays.labels = None
    assert [b.labels for b in evaluation_batches(arrays, CROP)] == [None]


def test_reports_failures_and_drops_empty_batches(files):
    for i in (2, 22):
        truncate(files.path(i), 0.6)
    failed: dict[int, str] = {}
    found = list(evaluation_batches(files, CROP, batch_size=11, failed=failed))
    assert sorted(failed) == [2, 22]
    assert [b.indices.tolist() for b in found] == [
        [0, 1, *range(3, 11)],
        list(range(11, 22)),
    ]
    assert found[0].labels.tolist() == files.labels[found[0].indices].tolist()
