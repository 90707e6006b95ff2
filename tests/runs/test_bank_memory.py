"""A memory bank is in memory once, also while a checkpoint of it is written or read."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from quarterturn.data.batches import TrainingBatches
from quarterturn.data.imageset import ArrayImages
from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.engine.loop import Training
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry
from quarterturn.methods.build import build_method
from quarterturn.methods.configuration import Config
from quarterturn.runs.bound_settings import settings_record
from quarterturn.runs.restoring import restore

from ..engine.equality import assert_same

NUM_IMAGES = 125_000
BANK_BYTES = NUM_IMAGES * 128 * 4  # 64 MB
CONFIG = Config().with_settings(backbone="convnet", image_size=8, flip=False)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def private_bytes() -> int:
    """What this process has in memory that is on no disk."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@contextmanager
def growth() -> Iterator[list[int]]:
    """The most that memory grows within the block."""
    before, found, over = private_bytes(), [0], threading.Event()

    def watch() -> None:
        while not over.is_set():
            found[0] = max(found[0], private_bytes() - before)
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    yield found
    over.set()
    thread.join()


@pytest.fixture(scope="module")
def make_training(random_images: Callable[..., ArrayImages]) -> Callable[[int], Training]:
    images = random_images(NUM_IMAGES, 8)

    def make(seed: int) -> Training:
        config = CONFIG.with_settings(seed=seed)
        method = build_method(config, len(images))
        return Training(
            method,
            TrainingBatches(images, config.data, batch_size=64, seed=seed),
            build_optimizer(method.network, config.optimizer),
            config.optimizer,
            Runtime("cpu", "32-true"),
            Telemetry(None, total_steps=10, steps_per_epoch=10),
            epochs=1,
            about=settings_record(CONFIG),
        )

    return make


def test_growth_shows_a_second_copy() -> None:
    rows = torch.rand(NUM_IMAGES, 128)
    with growth() as found:
        copy = rows.clone()
        time.sleep(0.1)  # until memory has been looked at
    assert len(copy) == NUM_IMAGES
    assert found[0] > 0.8 * BANK_BYTES


def test_neither_writing_nor_reading_makes_a_second(
    make_training: Callable[[int], Training], tmp_path: Path
) -> None:
    training, resumed = make_training(1), make_training(2)
    loss = training.method.network(torch.randn(4, 3, 8, 8))[0].square().mean()
    loss.backward()
    training.optimizer.step()  # so that there is momentum to keep
    with growth() as writing:
        save_checkpoint(tmp_path / "last.ckpt", training.state_dict())
    with growth() as reading:
        restore(resumed, tmp_path / "last.ckpt", CONFIG)
    assert writing[0] < 0.3 * BANK_BYTES
    assert reading[0] < 0.3 * BANK_BYTES
    for of in ("network", "method", "optimizer"):
        assert_same(resumed.state_dict()[of], training.state_dict()[of], of)
    # Nothing of it is left on the disk: the next checkpoint takes the file's place.
    (tmp_path / "last.ckpt").write_bytes(b"")
    assert resumed.method.discrimination.bank.rows.isfinite().all()
