from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quarterturn.config import OptimizerConfig
from quarterturn.data.batches import Batch
from quarterturn.engine.loop import Training, fit, training_step
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry
from quarterturn.errors import TrainingError

STEP = OptimizerConfig(
    learning_rate=0.02, schedule="step", milestones=(0.5,), factors=(1.0, 0.5), momentum=0.0
)


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.weight * images.flatten()


class Slope:
    """Two terms of a line's values; the embeddings are what the bank would get."""

    def __init__(self) -> None:
        self.network = Line()
        self.term_weights = {"square": 1.0, "size": 0.5}
        self.updates: list[tuple[Tensor, Tensor]] = []

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float
    ) -> SimpleNamespace:
        values = network(batch.images)
        terms = {"square": values.square().mean(), "size": values.abs().mean()}
        return SimpleNamespace(
            terms=terms,
            embeddings=values.detach(),
            normalizer=None,
            predicted=(batch.images.flatten(1) > 3).float(),
        )

    def amounts(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        return dict.fromkeys(self.term_weights, torch.tensor(float(len(batch))))

    def before_epoch(self, epoch: int, epochs: int) -> dict[str, Any]:
        return {}

    def after_step(self, indices: Tensor, embeddings: Tensor, normalizer: None) -> None:
        self.updates.append((indices, embeddings))

    def state_dict(self) -> dict:
        return {}


class Batches:
    """Two epochs of three batches, the last of one image too few for batch norm."""

    steps_per_epoch = 3
    failed: dict[int, str] = {}  # noqa: RUF012
    changed: set[int] = set()  # noqa: RUF012

    def note_failed(self, failed: dict[int, str]) -> None:
        assert failed == {}

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        for x in [[1.0, 2.0], [3.0, 1.0], [9.0]][first:]:
            yield Batch(torch.arange(len(x)), torch.tensor(x).view(-1, 1, 1, 1))


def training(method: Slope, **options: object) -> Training:
    return Training(
        method,
        Batches(),
        torch.optim.SGD(method.network.parameters(), lr=9.0),
        STEP,
        Runtime("cpu", "32-true"),
        Telemetry(None, total_steps=6, steps_per_epoch=3),
        epochs=2,
        **options,
    )


def gradient(weight: float, images: list[float]) -> float:
    """Of mean (w x)^2 + 0.5 mean |w x|, worked out by hand for positive w and x."""
    squares = sum(2 * weight * x * x for x in images) / len(images)
    return squares + 0.5 * sum(images) / len(images)


def test_fit_makes_the_steps_that_one_makes_by_hand() -> None:
    method, epochs_done = Slope(), []
    t = training(method, after_epoch=epochs_done.append)
    with t.telemetry:
        fit(t)
    weight = 2.0
    for rate in (0.02, 0.01):  # the milestone is at half of the epochs
        for images in ([1.0, 2.0], [3.0, 1.0]):  # the batch of one image is left out
            weight -= rate * gradient(weight, images)
    assert method.network.weight.item() == pytest.approx(weight, rel=1e-5)
    assert t.step == 6
    assert epochs_done == [1, 2]
    assert len(method.updates) == 4


@pytest.mark.parametrize(("stop_after", "epochs_done"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_a_training_ends_where_the_method_says(
    tmp_path: Path, stop_after: int, epochs_done: int
) -> None:
    called: list[int] = []

    def after_epoch(done: int) -> bool:
        called.append(done)
        return done == stop_after

    method = Slope()
    t = training(method, after_epoch=after_epoch, checkpoint=tmp_path / "last.ckpt")
    t.epochs = 3
    with t.telemetry:
        fit(t)
    assert called == list(range(1, epochs_done + 1))
    assert t.step == 3 * epochs_done
    # What it ended with is kept, with how far it has come.
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert (state["step"], state["epochs_done"]) == (3 * epochs_done, epochs_done)
    assert state["network"]["weight"] == method.network.weight


@pytest.mark.parametrize("said", [None, False])
def test_a_training_runs_on_unless_stopped(said: bool | None) -> None:
    t = training(Slope(), after_epoch=lambda done: said)
    with t.telemetry:
        fit(t)
    assert t.step == 6


def test_the_method_is_given_the_progress() -> None:
    told: list[float] = []

    class Watching(Slope):
        def losses(self, *args: Any) -> SimpleNamespace:
            told.append(args[3])
            return super().losses(*args)

    t = training(Watching())
    with t.telemetry:
        fit(t)
    assert told == [0, 0, 0.5, 0.5]  # in whole epochs, as milestones are; of one image is no step


def test_the_bank_gets_the_embeddings_of_the_step_itself() -> None:
    method = Slope()
    batch = next(Batches().epoch(0))
    terms = training_step(training(method), method.network, batch)
    indices, embeddings = method.updates[0]
    assert torch.equal(indices, batch.indices)
    assert embeddings.tolist() == [2.0, 4.0]  # by the weight before the step
    assert float(terms["loss"]) == pytest.approx(10 + 0.5 * 3)
    assert float(terms["square"]) == pytest.approx(10)


def test_a_process_with_fewer_images_counts_for_less() -> None:
    """Gradients of 3 and 1 images, averaged over two processes, are the gradient of all 4."""

    class OneOfTwo(Runtime):
        def mean(self, value: Tensor) -> Tensor:
            # Of the terms' amounts: 3 and 1 images are 2 on average.
            return torch.full_like(value, 2.0) if value.shape == (2,) else value

    gradients = []
    for images in ([1.0, 2.0, 4.0], [3.0]):
        method = Slope()
        batch = Batch(torch.arange(len(images)), torch.tensor(images).view(-1, 1, 1, 1))
        t = training(method)
        t.runtime = OneOfTwo("cpu", "32-true")
        t.optimizer = torch.optim.SGD(method.network.parameters(), lr=1.0)
        training_step(t, method.network, batch)
        gradients.append(2.0 - method.network.weight.item())
    whole = gradient(2.0, [1.0, 2.0, 4.0, 3.0])
    assert sum(gradients) / 2 == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(("num_images", "parts"), [(6, 2), (6, 3), (5, 2), (7, 3)])
def test_a_batch_in_parts_makes_the_step_of_the_whole(num_images: int, parts: int) -> None:
    images = torch.arange(1.0, num_images + 1).view(-1, 1, 1, 1)
    batch = Batch(torch.arange(num_images) * 10, images)
    whole, parted = Slope(), Slope()
    one = training_step(training(whole), whole.network, batch)
    other = training_step(training(parted), parted.network, batch, parts=parts)
    # Of a step of 9 times a gradient near 60: the same to rounding.
    assert parted.network.weight.item() == pytest.approx(whole.network.weight.item(), rel=1e-5)
    assert set(other) == set(one)
    assert float(one["rotation_accuracy"]) == pytest.approx((num_images - 3) / num_images)
    for name, value in one.items():
        assert float(other[name]) == pytest.approx(float(value), rel=1e-5)
    [(indices, embeddings)] = parted.updates
    assert torch.equal(indices, batch.indices)
    assert torch.equal(embeddings, whole.updates[0][1])


def test_a_part_has_two_images_or_more() -> None:
    seen: list[int] = []

    class Watching(Slope):
        def losses(self, *args: Any) -> SimpleNamespace:
            seen.append(len(args[1]))
            return super().losses(*args)

    t = training(Watching(), accumulate=4)
    with t.telemetry:
        fit(t)
    assert seen == [2, 2, 2, 2]  # batches of two stay whole


@pytest.mark.parametrize("every", [0, 1])
def test_weights_that_are_not_finite_are_neither_kept_nor_evaluated(
    tmp_path: Path, every: int
) -> None:
    """The last update spoils the weights, after a loss that was finite."""
    evaluated: list[int] = []

    def after_step(indices: Tensor, embeddings: Tensor, normalizer: None) -> None:
        Slope.after_step(method, indices, embeddings, normalizer)
        if len(method.updates) == 4:
            method.network.weight.data.fill_(float("inf"))

    method = Slope()
    method.after_step = after_step
    path = tmp_path / "last.ckpt"
    t = training(method, after_epoch=evaluated.append, checkpoint=path, checkpoint_every=every)
    message = rf"finite after step {5 if every else 6} \(network.weight\).*last.ckpt \(step "
    with t.telemetry, pytest.raises(TrainingError, match=message):
        fit(t)
    assert evaluated == [1]
    state = torch.load(path, weights_only=True)
    assert state["network"]["weight"].isfinite()
    assert state["step"] == (4 if every else 3)


def test_a_checkpoint_carries_plain_values_of_the_training(tmp_path: Path) -> None:
    t = training(Slope(), checkpoint=tmp_path / "last.ckpt", about={"settings": {"epochs": 2}})
    with t.telemetry:
        fit(t)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["settings"] == {"epochs": 2}
