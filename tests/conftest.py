"""What several tests share: fixed seeds, small images, a small backbone, snapshots of state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from quarterturn import pretrain
from quarterturn.config import Config, DataConfig
from quarterturn.data.batches import Batch
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.sources import Source, open_source
from quarterturn.methods.base import Method, Network
from quarterturn.methods.registry import build_network
from quarterturn.models.backbone import Backbone
from quarterturn.presets import preset
from quarterturn.runs import Run
from tests.weights.runs import MakeRun, write_run


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """On tensors this small a second thread costs more than it gives."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    """Networks that a test builds have the same weights each time."""
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """A NumPy generator that begins anew for each test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def digits_source() -> Source:
    """scikit-learn's digits, indexed once."""
    return open_source("digits")


@pytest.fixture(scope="session")
def random_images() -> Callable[[int, int], ArrayImages]:
    """Makes square images of noise with three classes: (number, side) -> images."""

    def make(number: int, side: int) -> ArrayImages:
        pixels = np.random.default_rng(number).integers(0, 256, (number, side, side, 3))
        names = [f"noise-{i}" for i in range(number)]
        labels = np.arange(number, dtype=np.int64) % 3
        return ArrayImages(pixels.astype(np.uint8), names, labels, ["a", "b", "c"])

    return make


@pytest.fixture
def batch() -> Batch:
    """Five images of 8 px out of a collection of 20, in no order, with labels of three classes."""
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return Batch(torch.tensor([11, 3, 17, 0, 8]), images, torch.tensor([2, 0, 1, 1, 2]))


@pytest.fixture
def tiny_backbone() -> Backbone:
    """8 px to 12 features, not invariant to turns, with a batch norm that is not the identity."""
    conv = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    norm = conv[1]
    for values, low, high in [
        (norm.weight, 0.5, 1.5),
        (norm.bias, -0.5, 0.5),
        (norm.running_mean, -0.5, 0.5),
        (norm.running_var, 0.5, 2.0),
    ]:
        nn.init.uniform_(values, low, high)
    fc = nn.Sequential(nn.Flatten(), nn.Linear(4 * 8 * 8, 12), nn.ReLU())
    return Backbone([("conv", conv), ("fc", fc)], ["conv", "fc"], feature_dim=12)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes a run that nobody has trained: (name, **settings) -> run."""

    def make(name: str = "run", **settings: Any) -> Run:
        return write_run(tmp_path / name, **settings)

    return make


@pytest.fixture
def state_of() -> Callable[[Method], dict[str, Any]]:
    """Makes a copy of all that a method's ``losses`` may not change, for `unchanged`."""

    def copy(method: Method) -> dict[str, Any]:
        state: dict[str, Any] = {
            n: p.detach().clone() for n, p in method.network.named_parameters()
        }
        state["torch RNG"] = torch.random.get_rng_state()
        state["numpy RNG"] = torch.from_numpy(np.random.get_state()[1].astype(np.int64))  # noqa: NPY002
        if "bank" in method.state_dict():
            bank = method.state_dict()["bank"]
            state["bank rows"] = bank["rows"].clone()
            z = bank["normalizer"]
            state["normalizer"] = torch.tensor(torch.nan) if z is None else z.clone()
        return state

    return copy


@pytest.fixture
def unchanged() -> Callable[[dict[str, Any], dict[str, Any]], bool]:
    """Tells whether two copies of `state_of` are equal bit by bit."""

    def equal(before: dict[str, Any], after: dict[str, Any]) -> bool:
        assert before.keys() == after.keys()
        changed = [n for n in before if not torch.allclose(before[n], after[n], 0, 0, True)]
        assert changed == []
        return True

    return equal


QUICK = {"epochs": 2, "limit": 120, "num_noise": 16, "batch_size": 32, "device": "cpu"}


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short decoupling run on digits."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    return pretrain("digits", out=out, quiet=True, **QUICK)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of small photos that differ in hue, 30 of each; bright at the top."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for label, hue in [("blue", 2), ("red", 0)]:
        (root / label).mkdir()
        for i in range(30):
            pixels = random.integers(0, 60, (40, 48, 3), dtype=np.uint8)
            pixels[..., hue] += 120
            pixels[:12] += 60
            Image.fromarray(pixels).save(root / label / f"{i:02d}.png")
    return root


SIDE = 8


@pytest.fixture
def crop() -> DataConfig:
    """Images as they are: all of each, and values in [-1, 1]."""
    return DataConfig(image_size=SIDE, eval_crop=1.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


@pytest.fixture
def noise() -> Callable[..., ArrayImages]:
    """Makes labelled images of noise: (number, side, classes, seed) -> images."""

    def make(number: int, side: int = SIDE, classes: int = 4, seed: int = 0) -> ArrayImages:
        pixels = np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), np.uint8)
        return ArrayImages(
            pixels,
            [f"noise-{i}" for i in range(number)],
            np.arange(number) % classes,
            [f"class {c}" for c in range(classes)],
        )

    return make


@pytest.fixture
def with_sky(noise) -> Callable[[int], ArrayImages]:
    """Makes images of noise whose uppermost row is white: which way is up can be seen."""

    def make(number: int) -> ArrayImages:
        images = noise(number)
        images.pixels //= 2
        images.pixels[:, 0] = 255
        return images

    return make


NUM_IMAGES = 60


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    """A few digits, at the size they are stored."""
    return open_source("digits").train.subset(np.arange(NUM_IMAGES))


@pytest.fixture(scope="session")
def config() -> Config:
    return preset("digits").with_settings(epochs=2, crop_scale=(0.6, 1.0))


@pytest.fixture(scope="session")
def network(config: Config) -> Network:
    """Untrained, decoupled."""
    return build_network(config).eval()
