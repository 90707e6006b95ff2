"""Losses do not depend on how many processes decode, nor on an interruption."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from quarterturn.data.batches import Batch, TrainingBatches
from quarterturn.data.sources import open_source
from quarterturn.engine.loop import Training, fit
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry
from quarterturn.methods.build import build_method
from quarterturn.methods.configuration import Config

EPOCHS, STEPS_PER_EPOCH = 10, 5  # 60 photos by 12
CONFIG = Config().with_settings(
    method="decoupling",
    backbone="convnet",
    image_size=16,
    num_noise=8,
    batch_size=12,
    epochs=EPOCHS,
    precision="32-true",
    device="cpu",
)


class Losses(Telemetry):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        total = EPOCHS * STEPS_PER_EPOCH
        super().__init__(None, total_steps=total, steps_per_epoch=STEPS_PER_EPOCH)
        self.kept: list[float] = []

    def step(self, step: int, terms: dict[str, Tensor], *rest: object) -> None:
        assert step == len(self.kept)
        self.kept.append(float(terms["loss"]))
        super().step(step, terms, *rest)


class Interrupted(TrainingBatches):
    """Ctrl-C while a batch of the sixth epoch is waited for."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        for number, batch in enumerate(super().epoch(epoch, first), start=first):
            if (epoch, number) == (5, 2):
                raise KeyboardInterrupt
            yield batch


def losses(photos: Path, workers: int, *, is_interrupted: bool = False) -> list[float]:
    """Of each step of a training; fingerprint and sizes are those before it."""
    images = open_source(str(photos)).train
    before = images.fingerprint()

    def begun(kind: type[TrainingBatches]) -> Training:
        torch.manual_seed(0)
        method = build_method(CONFIG, len(images))
        batches = kind(images, CONFIG.data, batch_size=12, seed=0, workers=workers, epochs=EPOCHS)
        optimizer = build_optimizer(method.network, CONFIG.optimizer)
        runtime = Runtime("cpu", "32-true")
        return Training(
            method, batches, optimizer, CONFIG.optimizer, runtime, Losses(), epochs=EPOCHS
        )

    if not is_interrupted:
        training = begun(TrainingBatches)
        with training.telemetry:
            fit(training)
        assert images.fingerprint() == before
        return training.telemetry.kept
    stopped = begun(Interrupted)
    with pytest.raises(KeyboardInterrupt), stopped.telemetry:
        fit(stopped)
    file = io.BytesIO()
    torch.save(stopped.state_dict(), file)
    resumed = begun(TrainingBatches)
    resumed.telemetry.kept = stopped.telemetry.kept
    resumed.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    with resumed.telemetry:
        fit(resumed)
    return resumed.telemetry.kept


@pytest.fixture(scope="module")
def in_one_process(photos: Path) -> list[float]:
    return losses(photos, 0)


def test_fifty_steps_learn_something(in_one_process) -> None:
    assert len(in_one_process) == EPOCHS * STEPS_PER_EPOCH
    assert max(in_one_process[-5:]) < min(in_one_process[:2])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker:UserWarning")
@pytest.mark.parametrize(
    ("workers", "is_interrupted"), [(1, False), (3, False), (0, True), (3, True)]
)
def test_losses_of_fifty_steps_are_equal(photos, in_one_process, workers, is_interrupted) -> None:
    found = losses(photos, workers, is_interrupted=is_interrupted)
    assert found == pytest.approx(in_one_process, rel=0, abs=1e-6)
