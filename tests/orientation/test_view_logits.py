from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import quarterturn.orientation.view_logits as views_module
from quarterturn.config import DataConfig
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.imageset import ArrayImages, FileImages
from quarterturn.data.sources import open_source
from quarterturn.data.views import View, list_views
from quarterturn.methods.rotnet import RotationNetwork
from quarterturn.orientation.view_logits import view_logits

from ..data.pictures import noise, photo, save, truncate

CROP = DataConfig(image_size=8, eval_crop=0.75)


@pytest.fixture
def network(tiny_backbone) -> RotationNetwork:
    return RotationNetwork(tiny_backbone)


@pytest.fixture
def arrays() -> ArrayImages:
    """Of the side of which three quarters are 8 px, so that a crop is a piece as it is."""
    pixels = np.concatenate([noise(0, 70, 11, 11, 3)])
    return ArrayImages(pixels, [str(i) for i in range(70)])


def seen_by_hand(network: RotationNetwork, pixels: np.ndarray, view: View) -> np.ndarray:
    """(4, 4) logits of one image of 11 px, by slices, NumPy's turns and one image at a time."""
    top, left = {
        "centre": (1, 1),
        "top left": (0, 0),
        "top right": (0, 3),
        "bottom left": (3, 0),
        "bottom right": (3, 3),
    }[view.place]
    shown = pixels[top : top + 8, left : left + 8].astype(np.float32)
    shown = shown[:, ::-1] if view.mirrored else shown
    shown = (shown / 255 - np.array(CROP.mean, np.float32)) / np.array(CROP.std, np.float32)
    rows = []
    for k in range(4):
        turned = np.rot90(shown, k).transpose(2, 0, 1).astype(np.float32)
        features = network.backbone(torch.from_numpy(turned.copy())[None])
        rows.append(network.rotation_head(features)[0].numpy())
    if view.mirrored:
        rows = [rows[-k % 4][[0, 3, 2, 1]] for k in range(4)]
    return np.stack(rows)


class BrightEdge(torch.nn.Module):
    """Tells the turn by which edge is bright: the upper one of an upright image."""

    def features_of_turns(self, images: torch.Tensor) -> torch.Tensor:
        copies = torch.stack([images.rot90(k, (-2, -1)) for k in range(4)], dim=1).mean(dim=2)
        top, left = copies[..., :3, :].mean((-2, -1)), copies[..., :3].mean((-2, -1))
        bottom, right = copies[..., -3:, :].mean((-2, -1)), copies[..., -3:].mean((-2, -1))
        return torch.stack([top, left, bottom, right], dim=-1)

    def rotation_logits(self, features: torch.Tensor) -> torch.Tensor:
        return features


def test_views_of_an_image_that_is_stored_turned_agree():
    upright = np.full((12, 12, 3), 30, dtype=np.uint8)
    upright[:4] = 240
    pixels = np.stack([np.rot90(upright, s) for s in range(4)])
    crop = replace(CROP, image_size=12, eval_crop=1.0, flip=True)
    images = ArrayImages(pixels, list("abcd"))
    _, logits = view_logits(BrightEdge(), images, crop, list_views(crop, 1))
    assert logits.shape == (4, 2, 4, 4)
    for stored in range(4):
        for k in range(4):  # copy k of an image stored turned by s is turned by k + s
            assert logits[stored, :, k].argmax(dim=-1).tolist() == [(k + stored) % 4] * 2
    torch.testing.assert_close(logits[:, 0], logits[:, 1])


class TestLook:
    @torch.no_grad()
    def test_is_a_pass_over_every_turn_of_every_crop(self, network, arrays):
        views = list_views(replace(CROP, flip=True), 5)
        network.train()
        running = network.backbone.state_dict()["stages.conv.1.running_mean"].clone()
        numbers, logits = view_logits(network, arrays, CROP, views)
        assert numbers.tolist() == list(range(70))
        assert numbers.dtype == np.int64
        assert logits.shape == (70, 10, 4, 4)
        assert logits.dtype == torch.float32
        assert network.training  # its mode is put back
        assert torch.equal(network.backbone.state_dict()["stages.conv.1.running_mean"], running)
        network.eval()
        for i in (0, 1, 63, 64, 69):  # of both batches
            for v, view in enumerate(views):
                expected = seen_by_hand(network, arrays.pixels[i], view)
                np.testing.assert_allclose(logits[i, v].numpy(), expected, atol=1e-3)

    @pytest.mark.parametrize("training", [True, False])
    def test_leaves_the_network_as_it_was(self, network, arrays, training):
        network.train(training)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        _, logits = view_logits(network, arrays, CROP, list_views(CROP, 1))
        assert network.training == training
        assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
        assert not logits.requires_grad

    @torch.no_grad()
    def test_the_first_view_is_that_of_all_evaluation(self, network, arrays):
        network.eval()
        for crop in (CROP, replace(CROP, eval_crop=1.0, flip=False)):
            _, logits = view_logits(network, arrays, crop, list_views(crop, 5)[:1])
            (batch,) = evaluation_batches(arrays, crop)
            expected = network(batch.images)
            torch.testing.assert_close(logits[:, 0], expected, rtol=0, atol=1e-5)

    @torch.no_grad()
    def test_mirrored_twice_is_the_image_itself(self, network, arrays):
        mirrored = ArrayImages(np.ascontiguousarray(arrays.pixels[:, :, ::-1]), arrays.names)
        views = list_views(replace(CROP, eval_crop=1.0, flip=True), 1)
        (_, of_images), (_, of_mirrored) = (
            view_logits(network, images, CROP, views) for images in (arrays, mirrored)
        )
        back = [0, 3, 2, 1]  # a mirrored view is told of the image itself
        of_views = of_mirrored[:, :, back][:, :, :, back]
        torch.testing.assert_close(of_images[:, 1], of_views[:, 0], rtol=0, atol=1e-4)
        torch.testing.assert_close(of_images[:, 0], of_views[:, 1], rtol=0, atol=1e-4)
        assert (of_images[:, 0] - of_images[:, 1]).abs().max() > 0.01

    def test_of_no_images(self, network, arrays):
        numbers, logits = view_logits(
            network, arrays.subset(np.arange(0)), CROP, list_views(CROP, 1)
        )
        assert len(numbers) == 0
        assert logits.shape == (0, 2, 4, 4)


class TestFiles:
    @pytest.fixture
    def files(self, tmp_path: Path) -> FileImages:
        for i in range(9):
            save(tmp_path / f"{i}.png", photo(i, 20 + i, 30))
        return open_source(str(tmp_path)).train

    def test_those_that_cannot_be_read_are_left_out(self, network, files):
        views = list_views(CROP, 5)
        _, whole = view_logits(network, files, CROP, views)
        truncate(files.path(3))
        files.path(7).unlink()
        for workers in (0, 2):
            failed: dict[int, str] = {}
            numbers, logits = view_logits(
                network, files, CROP, views, workers=workers, failed=failed
            )
            assert numbers.tolist() == [0, 1, 2, 4, 5, 6, 8]
            torch.testing.assert_close(logits, whole[numbers], rtol=0, atol=1e-5)
            assert sorted(failed) == [3, 7]
            assert failed[7] == "No such file or directory"

    def test_files_and_arrays_agree(self, network, files):
        # A grey level apart at most; the network is smooth.
        square = [np.asarray(Image.open(files.path(i)).convert("RGB"))[:20, :20] for i in range(9)]
        for i, pixels in enumerate(square):
            Image.fromarray(pixels).save(files.path(i))
        files.sizes[:] = 20
        views = list_views(CROP, 5)
        arrays = ArrayImages(np.stack(square), files.names)
        (_, of_files), (_, of_arrays) = (
            view_logits(network, images, CROP, views) for images in (files, arrays)
        )
        assert (of_files - of_arrays).abs().max() < 0.1

    @torch.no_grad()
    def test_a_file_that_goes_between_two_views_is_left_out(self, network, tmp_path, monkeypatch):
        for i in range(9):
            Image.fromarray(photo(i, 11, 11)).save(tmp_path / f"{i}.png")
        images = open_source(str(tmp_path)).train
        views, batches = list_views(replace(CROP, flip=True), 1), views_module.evaluation_batches

        def going(*arguments, **options):
            yield from batches(*arguments, **options)
            (tmp_path / "4.png").unlink(missing_ok=True)

        monkeypatch.setattr(views_module, "evaluation_batches", going)
        numbers, logits = view_logits(network, images, CROP, views, failed={})
        assert numbers.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
        monkeypatch.undo()
        rest, expected = view_logits(network, images.subset(numbers), CROP, views)
        assert rest.tolist() == list(range(8))
        torch.testing.assert_close(logits, expected)
