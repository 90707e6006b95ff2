import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from quarterturn.config import DataConfig
from quarterturn.data.batches import Batch, TrainingBatches, batch_slices
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.imageset import ArrayImages, FileImages
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from .pictures import noise, save_photo, save_photos, truncate

CROP = DataConfig(image_size=16, max_bad_fraction=0.05)
MEAN, STD = torch.tensor(CROP.mean)[:, None, None], torch.tensor(CROP.std)[:, None, None]


def batches_of(images, crop: DataConfig = CROP, **options) -> TrainingBatches:
    return TrainingBatches(images, crop, **({"batch_size": 8, "seed": 7} | options))


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert [b.indices.tolist() for b in found] == [b.indices.tolist() for b in expected]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.images, other.images)


class TestSlices:
    @pytest.mark.parametrize(
        ("n", "batch_size", "smallest", "lengths"),
        [
            (24, 8, 2, [8, 8, 8]),
            (23, 8, 2, [8, 8, 7]),  # the short rest is kept
            (18, 8, 2, [8, 8, 2]),
            (17, 8, 2, [8, 9]),  # a single image joins
            (17, 8, 1, [8, 8, 1]),
            (19, 8, 4, [8, 11]),
            (5, 8, 2, [5]),
            (1, 8, 2, [1]),
            (8, 8, 2, [8]),
            (9, 8, 2, [9]),
        ],
    )
    def test_lengths(self, n, batch_size, smallest, lengths):
        slices = batch_slices(n, batch_size, smallest)
        assert [s.stop - s.start for s in slices] == lengths
        assert [i for s in slices for i in range(n)[s]] == list(range(n))


class TestEpoch:
    @pytest.mark.parametrize("kind", ["files", "arrays"])
    def test_every_image_once(self, kind, request):
        batches = batches_of(request.getfixturevalue(kind))
        orders = []
        for epoch in range(2):
            found = list(batches.epoch(epoch))
            assert [len(b) for b in found] == [8, 8, 7]
            assert len(found) == batches.steps_per_epoch
            for b in found:
                assert b.images.shape == (len(b), 3, 16, 16)
                assert b.images.dtype == torch.float32
                assert b.indices.dtype == torch.int64
            orders.append(torch.cat([b.indices for b in found]).tolist())
            assert sorted(orders[-1]) == list(range(23))
        assert orders[0] != orders[1]
        assert orders[0] != list(range(23))

    @pytest.mark.parametrize("kind", ["files", "arrays"])
    def test_is_a_function_of_seed_and_epoch(self, kind, request):
        images = request.getfixturevalue(kind)
        batches = batches_of(images)
        second = list(batches.epoch(1))
        assert_same(list(batches_of(images).epoch(1)), second)
        other = list(batches_of(images, seed=8).epoch(1))
        assert [b.indices.tolist() for b in other] != [b.indices.tolist() for b in second]
        by_index = [
            {int(i): image for b in found for i, image in zip(b.indices, b.images, strict=True)}
            for found in (second, list(batches.epoch(2)))
        ]
        changed = [not torch.equal(by_index[0][i], by_index[1][i]) for i in range(23)]
        assert np.mean(changed) > 0.9  # each epoch shows other crops

    @pytest.mark.parametrize("kind", ["files", "arrays"])
    def test_resumes_in_the_middle(self, kind, request):
        batches = batches_of(request.getfixturevalue(kind))
        whole = list(batches.epoch(3))
        for first in range(4):
            assert_same(list(batches.epoch(3, first=first)), whole[first:])

    @pytest.mark.parametrize("kind", ["files", "arrays"])
    def test_two_processes_share_each_batch(self, kind, request):
        images = request.getfixturevalue(kind)
        single = list(batches_of(images).epoch(0))
        shares = [list(batches_of(images, rank=r, world_size=2).epoch(0)) for r in range(2)]
        for whole, *parts in zip(single, *shares, strict=True):
            indices = torch.cat([part.indices for part in parts])
            pixels = torch.cat([part.images for part in parts])
            order, expected = indices.argsort(), whole.indices.argsort()
            assert torch.equal(indices[order], whole.indices[expected])
            torch.testing.assert_close(
                pixels[order], whole.images[expected], rtol=0, atol=1e-5 if kind == "arrays" else 0
            )
            assert abs(len(parts[0]) - len(parts[1])) <= 1

    @pytest.mark.parametrize("world_size", [1, 2])
    def test_are_the_same_however_many_are_drawn_at_once(self, arrays, monkeypatch, world_size):
        def shown():
            of_process = batches_of(arrays, rank=world_size - 1, world_size=world_size)
            return [*of_process.epoch(0), *of_process.epoch(1, first=2)]

        at_once = shown()
        monkeypatch.setattr("quarterturn.data.batches.BATCHES_DRAWN", 1)
        assert_same(shown(), at_once)

    def test_each_process_keeps_two_images(self):
        images = ArrayImages(noise(0, 19, 8, 8, 3), [str(i) for i in range(19)])
        for rank in range(2):  # the rest of 3 joins: 8 and 11 images
            found = list(batches_of(images, rank=rank, world_size=2).epoch(0))
            assert [len(b) for b in found] == [4, 6 - rank]

    def test_global_random_state_is_untouched(self, files, arrays):
        def states() -> list:
            return [torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()]  # noqa: NPY002

        before = states()
        for images, workers in [(files, 0), (files, 2), (arrays, 0)]:
            assert len(list(batches_of(images, workers=workers).epoch(0))) == 3
            assert len(list(evaluation_batches(images, CROP, workers=workers))) == 1
        after = states()
        assert torch.equal(before[0], after[0])
        np.testing.assert_array_equal(before[1], after[1])
        assert before[2] == after[2]

    def test_others_random_numbers_change_nothing(self, files):
        torch.manual_seed(1)
        one = list(batches_of(files).epoch(0))
        torch.manual_seed(2)
        assert_same(list(batches_of(files).epoch(0)), one)


class TestDraws:
    @pytest.mark.parametrize("kind", ["files", "arrays"])
    def test_more_than_there_are_images_show_each_under_several_crops(self, kind, request):
        images = request.getfixturevalue(kind).subset(np.arange(20))
        batches = batches_of(images, draws=50, with_labels=True)
        assert batches.steps_per_epoch == 7  # six of 8, and the rest of 2
        found = list(batches.epoch(0))
        assert [len(b) for b in found] == [8] * 6 + [2]
        indices = torch.cat([b.indices for b in found])
        assert set(torch.bincount(indices, minlength=20).tolist()) == {2, 3}
        assert torch.cat([b.labels for b in found]).tolist() == images.labels[indices].tolist()
        shown = torch.cat([b.images for b in found])
        for i in range(20):
            views = shown[indices == i]
            assert not any(torch.equal(views[0], other) for other in views[1:])
        again = list(batches_of(images, draws=50, workers=2).epoch(0))
        assert_same(again, found)
        assert_same(list(batches.epoch(0, first=4)), found[4:])

    def test_fewer_than_there_are_images_show_others_each_epoch(self, arrays):
        batches = batches_of(arrays, draws=9)
        by_epoch = [
            sorted(torch.cat([b.indices for b in batches.epoch(epoch)]).tolist())
            for epoch in range(2)
        ]
        assert [len(set(shown)) for shown in by_epoch] == [9, 9]
        assert by_epoch[0] != by_epoch[1]
        assert max(by_epoch[0]) >= 9

    def test_as_many_as_there_are_images_are_what_is_usual(self, arrays):
        assert_same(list(batches_of(arrays, draws=23).epoch(1)), list(batches_of(arrays).epoch(1)))


class TestSquares:
    """Crops of one size at random places, in place of random resized crops."""

    CROP = replace(CROP, crop_fraction=0.75, flip=False)

    def test_are_pieces_of_the_image_as_it_is(self, arrays):
        arrays = arrays.subset(np.arange(5))
        crop = replace(self.CROP, image_size=18)  # three quarters of 24
        for batch in batches_of(arrays, crop).epoch(0):
            shown = (batch.images * STD + MEAN) * 255
            for i, found in zip(batch.indices.tolist(), shown, strict=True):
                image = torch.from_numpy(arrays.pixels[i]).permute(2, 0, 1).float()
                pieces = image.unfold(1, 18, 1).unfold(2, 18, 1)  # (3, 7, 7, 18, 18)
                apart = (pieces - found[:, None, None]).abs().amax(dim=(0, 3, 4))
                assert (apart < 1e-2).sum() == 1

    def test_of_arrays_and_files(self, arrays, tmp_path):
        for i, pixels in enumerate(arrays.pixels):
            Image.fromarray(pixels).save(tmp_path / f"{i:02d}.png")
        files = open_source(str(tmp_path)).train
        crop = replace(self.CROP, flip=True)
        for one, other in zip(
            batches_of(arrays, crop).epoch(1), batches_of(files, crop).epoch(1), strict=True
        ):
            assert ((one.images - other.images) * STD * 255).abs().max() <= 1.01


class TestWorkers:
    def test_change_no_bit(self, files):
        alone, helped = batches_of(files), batches_of(files, workers=2)
        for epoch in range(2):
            assert_same(list(helped.epoch(epoch)), list(alone.epoch(epoch)))

    def test_an_epoch_begins_before_the_one_before_it_ends(self, files, monkeypatch):
        drawn: list[int] = []
        plans = TrainingBatches._plans

        def record(self, epoch, first):
            drawn.append(epoch)
            return plans(self, epoch, first)

        monkeypatch.setattr(TrainingBatches, "_plans", record)
        batches = batches_of(files, batch_size=4, workers=2, epochs=3)
        alone = batches_of(files, batch_size=4)
        expected = [list(alone.epoch(epoch)) for epoch in range(3)]
        drawn.clear()
        assert_same(list(batches.epoch(0)), expected[0])
        assert drawn == [0, 1]
        assert_same(list(batches.epoch(1)), expected[1])
        assert_same(list(batches.epoch(2)), expected[2])
        assert drawn == [0, 1, 2]
        assert_same(list(batches.epoch(1, first=2)), expected[1][2:])  # anew

    def test_an_epoch_may_be_left_for_another(self, files):
        batches = batches_of(files, workers=2)
        left = batches.epoch(0)
        assert len(next(left)) == 8
        left.close()
        assert_same(list(batches.epoch(1, first=1)), list(batches_of(files).epoch(1))[1:])

    def test_real_photos(self, houses):
        images = open_source(str(houses)).train
        assert len(images) == 48
        assert images.class_names == ["bathroom", "bedroom", "frontal", "kitchen"]
        crop = replace(CROP, image_size=32)
        found = list(batches_of(images, crop, workers=2, batch_size=16).epoch(0))
        assert_same(found, list(batches_of(images, crop, batch_size=16).epoch(0)))
        pixels = torch.cat([b.images for b in found]) * STD + MEAN
        assert pixels.min() > -0.01
        assert pixels.max() < 1.01
        assert 0.3 < pixels.mean() < 0.7
        assert pixels.std(dim=(0, 2, 3)).min() > 0.15


class TestSourcesAgree:
    def test_arrays_and_files_of_the_same_pixels(self, arrays, tmp_path):
        for i, pixels in enumerate(arrays.pixels):
            Image.fromarray(pixels).save(tmp_path / f"{i:02d}.png")
        files = open_source(str(tmp_path)).train
        of_arrays, of_files = list(batches_of(arrays).epoch(0)), list(batches_of(files).epoch(0))
        of_arrays += list(evaluation_batches(arrays, CROP, batch_size=10))
        of_files += list(evaluation_batches(files, CROP, batch_size=10))
        assert len(of_arrays) == 6
        for one, other in zip(of_arrays, of_files, strict=True):
            assert torch.equal(one.indices, other.indices)
            # The worker rounds to whole grey levels, at most 1.01 away.
            assert ((one.images - other.images) * STD * 255).abs().max() <= 1.01

    @pytest.mark.parametrize("side", [16, 24])
    def test_padded_crops_of_arrays_and_files(self, arrays, tmp_path, side):
        for i, pixels in enumerate(arrays.pixels):
            Image.fromarray(pixels).save(tmp_path / f"{i:02d}.png")
        files = open_source(str(tmp_path)).train
        crop = replace(CROP, image_size=side, crop_padding=3)
        for workers in (0, 2):
            of_arrays = list(batches_of(arrays, crop).epoch(1))
            of_files = list(batches_of(files, crop, workers=workers).epoch(1))
            for one, other in zip(of_arrays, of_files, strict=True):
                assert torch.equal(one.indices, other.indices)
                assert ((one.images - other.images) * STD * 255).abs().max() <= 1.01

    @pytest.mark.parametrize("flip", [False, True])
    def test_padded_crops_are_the_images_moved(self, arrays, flip):
        crop = replace(CROP, image_size=24, crop_padding=3, flip=flip)
        black = torch.zeros(3, 30, 30)
        places, flips = set(), 0
        for epoch in range(2):
            for batch in batches_of(arrays, crop).epoch(epoch):
                for i, found in zip(batch.indices.tolist(), batch.images, strict=True):
                    padded = black.clone()
                    padded[:, 3:27, 3:27] = torch.from_numpy(arrays.pixels[i]).permute(2, 0, 1)
                    shown = (found * STD + MEAN) * 255
                    matches = [
                        (down, right, mirrored)
                        for down in range(7)
                        for right in range(7)
                        for mirrored in (False, True)
                        if torch.allclose(
                            shown.flip(2) if mirrored else shown,
                            padded[:, down : down + 24, right : right + 24],
                            atol=1e-2,
                        )
                    ]
                    assert len(matches) == 1
                    places.add(matches[0][:2])
                    flips += matches[0][2]
        assert len(places) > 20  # of 46 draws among 49
        assert {down for down, _ in places} == {right for _, right in places} == set(range(7))
        assert 10 < flips < 36 if flip else flips == 0

    def test_padding_is_only_for_training(self, arrays):
        crop = replace(CROP, crop_padding=3)
        (padded,), (plain,) = (list(evaluation_batches(arrays, c)) for c in (crop, CROP))
        assert torch.equal(padded.images, plain.images)

    def test_normalised(self):
        colours = noise(0, 9, 1, 1, 3)
        images = ArrayImages(np.broadcast_to(colours, (9, 20, 20, 3)).copy(), list("abcdefghi"))
        (found,) = batches_of(images, batch_size=9).epoch(0)
        expected = (torch.from_numpy(colours[:, 0, 0]) / 255 - MEAN.flatten()) / STD.flatten()
        torch.testing.assert_close(
            found.images,
            expected[found.indices][:, :, None, None].expand(-1, -1, 16, 16),
            rtol=0,
            atol=1e-4,
        )


class Unlabelled(ArrayImages):
    """Its labels may be set, but not looked at."""

    @property
    def labels(self):
        raise AssertionError("somebody read the labels")

    @labels.setter
    def labels(self, value):
        pass


class TestLabels:
    @pytest.mark.parametrize("kind", ["files", "arrays"])
    def test_come_only_when_asked(self, kind, request):
        images = request.getfixturevalue(kind)
        assert all(b.labels is None for b in batches_of(images).epoch(0))
        for b in batches_of(images, with_labels=True).epoch(0):
            assert b.labels.tolist() == images.labels[b.indices].tolist()

    def test_are_never_read(self, arrays):
        images = Unlabelled(arrays.pixels, arrays.names)
        with pytest.raises(AssertionError, match="read the labels"):
            batches_of(images, with_labels=True)
        assert len(list(batches_of(images).epoch(0))) == 3


class TestFailures:
    @pytest.fixture
    def forty(self, tmp_path) -> FileImages:
        return save_photos(tmp_path, 40)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_file_keeps_its_number_and_drops_out(self, forty, workers):
        whole = list(batches_of(forty).epoch(0))
        truncate(forty.path(11), 0.6)
        forty.path(30).unlink()
        batches = batches_of(forty, workers=workers, with_labels=True)
        for _ in range(2):  # counted once, not each epoch
            found = list(batches.epoch(0))
            assert len(found) == len(whole) == 5
            for one, other in zip(found, whole, strict=True):
                kept = [j for j, i in enumerate(other.indices.tolist()) if i not in (11, 30)]
                assert one.indices.tolist() == other.indices[kept].tolist()
                assert torch.equal(one.images, other.images[kept])
                assert one.labels.tolist() == forty.labels[one.indices].tolist()
            assert sum(map(len, found)) == 38
            assert sorted(batches.failed) == [11, 30]
            assert batches.failed[30] == "No such file or directory"

    def stop_of(self, batches: TrainingBatches) -> str:
        # Not by pytest.raises: what it keeps holds the loader, and torch waits ten seconds for
        # workers whose loader goes as part of a reference cycle.
        try:
            list(batches.epoch(0))
        except DataError as error:
            return str(error)
        return "did not stop"

    @pytest.mark.parametrize("workers", [0, 2])
    def test_too_many_stop(self, forty, workers):
        broken = [3, 11, 30]
        for i in broken:
            truncate(forty.path(i), 0.6)
        message = self.stop_of(batches_of(forty, workers=workers))
        assert message.startswith("3 of 40 image files cannot be read (7.5%")
        for i in broken:
            assert f"  {forty.names[i]}: " in message
        allowed = batches_of(forty, replace(CROP, max_bad_fraction=0.08))
        assert sum(len(b) for b in allowed.epoch(0)) == 37

    def test_those_left_out_at_indexing_count(self, forty):
        for i in (3, 11):
            truncate(forty.path(i), 0.6)
        assert sum(len(b) for b in batches_of(forty).epoch(0)) == 38  # 2 of 40
        batches = batches_of(
            forty, source=Source("x", forty, unreadable={"empty.jpg": "the file is empty"})
        )
        message = self.stop_of(batches)
        assert message.startswith("3 of 41 image files")
        assert "  empty.jpg: the file is empty" in message

    def test_files_left_out_elsewhere_do_not_count_here(self, forty):
        """30 unreadable files of 630, and one of the 40 in use: neither is too many."""
        bad = {f"{i}.jpg": "the file is empty" for i in range(30)}
        everything = ArrayImages(np.zeros((600, 8, 8, 3), np.uint8), [str(i) for i in range(600)])
        truncate(forty.path(5), 0.6)
        batches = batches_of(forty, source=Source("x", everything, unreadable=bad))
        assert sum(len(b) for b in batches.epoch(0)) == 39

    def test_a_batch_of_nothing_is_still_a_batch(self, forty):
        crop = replace(CROP, max_bad_fraction=0.5)
        second = list(batches_of(forty, crop).epoch(0))[1].indices.tolist()
        for i in second:
            forty.path(i).unlink()
        found = list(batches_of(forty, crop).epoch(0))
        assert [len(b) for b in found] == [8, 0, 8, 8, 8]  # steps stay in step

    def test_a_file_that_has_shrunk_meanwhile(self, forty):
        save_photo(forty.path(4), 4, 12, 9)
        found = list(batches_of(forty).epoch(0))
        assert sum(map(len, found)) == 40
