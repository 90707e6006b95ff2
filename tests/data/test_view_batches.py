"""Shapes: N = 13 images; views of 16 and 8 pixels a side."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as reference

from quarterturn.config import DataConfig
from quarterturn.data.colour import ColourLaw, apply_colours, draw_colours
from quarterturn.data.crop_plans import random_crops
from quarterturn.data.crops import crop_batch
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.sources import open_source
from quarterturn.data.view_batches import ViewBatch, ViewBatches
from quarterturn.data.view_law import ViewLaw

from .pictures import noise, save_photo, truncate

CROP = DataConfig(image_size=16, max_bad_fraction=0.2)
WHOLE = replace(CROP, crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0), flip=False)
LAW = ViewLaw(2, 4, 8, colour=ColourLaw(0.8, 0.4, 0.4, 0.4, 0.1, 0.2))
PLAIN = replace(LAW, colour=ColourLaw())


@pytest.fixture
def arrays() -> ArrayImages:
    return ArrayImages(noise(0, 13, 16, 16, 3), [f"{i}" for i in range(13)])


@pytest.fixture
def folder(tmp_path):
    for i in range(13):
        save_photo(tmp_path / f"{i:02d}.{'jpg' if i % 3 == 0 else 'png'}", i, 30 + i % 7, 50)
    return tmp_path


def batches_of(images, law=LAW, crop=CROP, **options) -> list[ViewBatch]:
    epoch = options.pop("epoch", 0)
    first = options.pop("first", 0)
    made = ViewBatches(images, crop, law=law, **({"batch_size": 4, "seed": 7} | options))
    return list(made.epoch(epoch, first))


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    return reference.normalize(pixels / 255, CROP.mean, CROP.std)


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in ("indices", "images", "turns", "small"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def by_image(batches) -> dict[int, torch.Tensor]:
    """The full views of each image by its number."""
    return {int(i): v for b in batches for i, v in zip(b.indices, b.images, strict=True)}


def test_shapes_and_every_image_once(arrays):
    batches = batches_of(arrays)
    assert sorted(i for b in batches for i in b.indices.tolist()) == list(range(13))
    for b in batches:
        assert b.images.shape == (len(b), 2, 3, 16, 16)
        assert b.small.shape == (len(b), 4, 3, 8, 8)
        assert b.turns.shape == (len(b), 6)
    (batch, *_) = batches_of(arrays, replace(LAW, num_small=0))
    assert batch.small is None


def test_whole_images_are_only_turned(arrays):
    for batch in batches_of(arrays, PLAIN, WHOLE):
        for i, number in enumerate(batch.indices.tolist()):
            pixels = torch.from_numpy(arrays.pixels[number]).permute(2, 0, 1).float()
            for view in range(2):
                expected = normalised(torch.rot90(pixels, int(batch.turns[i, view]), (1, 2)))
                torch.testing.assert_close(batch.images[i, view], expected, atol=1e-5, rtol=0)
            upright = reference.resize(pixels, [8, 8], antialias=True)
            for view in range(4):
                expected = normalised(torch.rot90(upright, int(batch.turns[i, 2 + view]), (1, 2)))
                torch.testing.assert_close(batch.small[i, view], expected, atol=1e-4, rtol=0)


def test_a_view_is_cropped_then_coloured_then_turned(arrays):
    (batch, *_) = batches_of(arrays, epoch=3)
    keys = LAW.keys(batch.indices, 7)
    chosen = torch.from_numpy(arrays.pixels)[batch.indices]
    for view, side in enumerate([16, 16, 8, 8, 8, 8]):
        crops = random_crops(keys[:, view], 3, crop=CROP, seed=7).crops(arrays.sizes[:4])
        images = crop_batch(chosen, crops, side) / 255
        colours = draw_colours(keys[:, view], LAW.colour, seed=7, epoch=3)
        images = apply_colours(images, colours)
        for i, turn in enumerate(batch.turns[:, view].tolist()):
            expected = normalised(255 * torch.rot90(images[i], turn, (1, 2)))
            found = batch.images[i, view] if view < 2 else batch.small[i, view - 2]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_small_views_of_one_crop_differ_by_their_turns_alone(arrays):
    law = replace(LAW, same_crop=True)
    (batch, *_) = batches_of(arrays, law)
    for i in range(len(batch)):
        upright = [
            torch.rot90(view, -int(turn), (1, 2))
            for view, turn in zip(batch.small[i], batch.turns[i, 2:], strict=True)
        ]
        assert sorted(batch.turns[i, 2:].tolist()) == [0, 1, 2, 3]
        for view in upright[1:]:
            assert torch.equal(view, upright[0])
    assert not torch.equal(batch.images[:, 0], batch.images[:, 1])


def test_files_and_arrays_give_the_same_views(tmp_path, arrays):
    for i, pixels in enumerate(arrays.pixels):
        Image.fromarray(pixels).save(tmp_path / f"{i:02d}.png")
    files = open_source(str(tmp_path)).train
    for one, other in zip(batches_of(files, PLAIN), batches_of(arrays, PLAIN), strict=True):
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.turns, other.turns)
        two_grey_levels = 2 / 255 / min(CROP.std)
        for name in ("images", "small"):
            assert (getattr(one, name) - getattr(other, name)).abs().max() < two_grey_levels


def test_workers_and_where_an_epoch_begins_change_nothing(folder):
    images = open_source(str(folder)).train
    expected = batches_of(images, epoch=2)
    assert_same(batches_of(images, epoch=2, workers=2), expected)
    assert_same(batches_of(images, epoch=2, first=2), expected[2:])
    assert not torch.equal(batches_of(images, epoch=1)[0].images, expected[0].images)


def test_processes_share_the_views_of_one(arrays):
    whole = batches_of(arrays, batch_size=6)
    parts = [batches_of(arrays, batch_size=6, rank=rank, world_size=2) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        for name in ("indices", "images", "turns", "small"):
            found = torch.empty_like(getattr(batch, name))
            found[0::2], found[1::2] = getattr(first, name), getattr(second, name)
            assert torch.equal(found, getattr(batch, name))


def test_views_of_the_others_stay_where_a_file_fails(folder):
    images = open_source(str(folder)).train
    expected = by_image(batches_of(images))
    truncate(folder / "04.png")
    made = ViewBatches(images, CROP, law=LAW, batch_size=4, seed=7)
    found = by_image(made.epoch(0))
    assert list(made.failed) == [4]
    assert sorted(found) == [i for i in range(13) if i != 4]
    for i, views in found.items():
        assert torch.equal(views, expected[i])


def test_a_batch_has_no_parts(arrays):
    (batch, *_) = batches_of(arrays)
    assert batch.split(1) == [batch]
    with pytest.raises(ValueError, match="cannot be split"):
        batch.split(2)


def test_global_generators_are_left_alone(arrays):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    batches_of(arrays)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
