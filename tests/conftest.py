"""What several tests share: fixed seeds, small images, a small backbone, snapshots of state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from quarterturn.data.batches import Batch
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.sources import Source, open_source
from quarterturn.methods.base import Method
from quarterturn.models.backbone import Backbone
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
