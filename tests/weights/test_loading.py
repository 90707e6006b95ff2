from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.image_file import to_rgb
from quarterturn.data.sources import open_source
from quarterturn.errors import CheckpointError, ConfigError, DataError
from quarterturn.weights.loading import load_backbone
from tests.fixtures.runs import MakeRun


@torch.no_grad()
def test_a_run_in_one_line(make_run: MakeRun) -> None:
    run = make_run()
    backbone = load_backbone(run.path)
    assert not any(module.training for module in backbone.modules())
    network = run.load_network()
    images = torch.randn(5, 3, 16, 16)
    assert torch.equal(backbone(images), network.backbone(images))
    assert (backbone.layers, backbone.feature_dim) == (("conv1", "conv2", "conv3", "fc"), 256)
    found = backbone.features(images, layers=["conv2", "fc"])
    assert list(found) == ["conv2", "fc"]
    assert torch.equal(found["fc"], backbone(images))
    logits = network.rotation_head(network.backbone(images)[:, :128])
    torch.testing.assert_close(backbone.rotation(images), logits.softmax(dim=1))
    torch.testing.assert_close(backbone.rotation(images).sum(dim=1), torch.ones(5))
    again = load_backbone(run.checkpoint)
    assert torch.equal(again(images), backbone(images))


def test_rotation_counts_quarter_turns_counter_clockwise(make_run: MakeRun) -> None:
    run = make_run()
    backbone = load_backbone(run.path)
    biased = torch.tensor([0.0, 9.0, 0.0, 0.0])
    head = backbone.network.rotation_head
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(biased)
        assert backbone.rotation(torch.randn(2, 3, 16, 16)).argmax(dim=1).tolist() == [1, 1]


def test_without_a_rotation_head(make_run: MakeRun) -> None:
    backbone = load_backbone(make_run(method="instance").path)
    with pytest.raises(ConfigError, match="no rotation head"):
        backbone.rotation(torch.randn(1, 3, 16, 16))


def test_the_transform_is_the_evaluations(make_run: MakeRun, tmp_path: Path) -> None:
    """Bit for bit, by path and by Pillow image; JPEGs, which are decoded smaller, by path."""
    run = make_run()
    folder = tmp_path / "photos"
    folder.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6
    random = torch.Generator().manual_seed(0)
    for i in range(8):
        noise = torch.randint(0, 256, (6, 8, 3), generator=random, dtype=torch.uint8)
        image = Image.fromarray(noise.numpy()).resize((400, 320))
        exif = turned if i % 2 else Image.Exif()
        image.save(folder / f"{i}.{'png' if i < 4 else 'jpg'}", exif=exif)
    transform = load_backbone(run.path).transform
    images = open_source(str(folder)).train
    batch = next(evaluation_batches(images, run.config.data))
    for name, expected in zip(images.names, batch.images, strict=True):
        assert torch.equal(transform(folder / name), expected)
        assert torch.equal(transform(str(folder / name)), expected)
        with Image.open(folder / name) as image:
            opened = transform(image)
        if name.endswith(".png"):
            assert torch.equal(opened, expected)
        else:
            grey_levels = (opened - expected).abs() * run.config.data.std[0] * 255
            assert 0 < grey_levels.mean() < 3


def test_the_transform_takes_any_mode(make_run: MakeRun) -> None:
    run = make_run()
    transform = load_backbone(run.path).transform
    colours = Image.radial_gradient("L").resize((20, 24))
    for mode in ("L", "P", "RGBA", "CMYK"):
        image = colours.convert(mode)
        assert transform(image).shape == (3, 16, 16)
        assert torch.equal(transform(image), transform(to_rgb(image)))
    assert "image_size=16" in repr(transform)
    with pytest.raises(DataError, match=r"nowhere\.png cannot be read as an image"):
        transform("nowhere.png")


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such run or file"):
        load_backbone(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is no run directory: it has no config"):
        load_backbone(tmp_path)
