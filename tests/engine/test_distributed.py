"""Two processes on gloo train as one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import quarterturn.engine.loop as loop
import quarterturn.methods.build as build
import quarterturn.runs.life_cycle as life_cycle
from quarterturn.cli import main

from .processes import as_group

EPOCHS, IMAGES = 2, 101  # batches of 16; the last, of 5, is uneven over two processes
WORDS = (
    "pretrain",
    "digits",
    "--epochs",
    EPOCHS,
    "--batch-size",
    16,
    "--limit",
    IMAGES,
    "--num-noise",
    16,
    "--device",
    "cpu",
    "--log-every",
    1,
    "--no-diagnostics",
    "--instance-loss",
    "nce",
    "--noise",
    "per-image",
)


def without_batch_norm(network: nn.Module) -> nn.Module:
    """Take every batch norm out."""
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(network, name, nn.Identity())
        without_batch_norm(child)
    return network


def train_without_batch_norm_and_tell(rank: int, folder: str, options: list[str]) -> None:
    plain = build.build_network
    build.build_network = lambda *words, **more: without_batch_norm(plain(*words, **more))
    train_and_tell(rank, folder, options)


def train_and_tell(rank: int, folder: str, more: list[str]) -> None:
    """Run the command as one of several processes, and write down what it saw and ended with."""
    seen, losses, plain_step, plain_fit = [], [], loop.training_step, loop.fit

    def training_step(training: loop.Training, *rest: object) -> dict[str, torch.Tensor]:
        seen.append((training.step, rest[1].indices.tolist()))
        terms = plain_step(training, *rest)
        losses.append(torch.stack(list(terms.values())))
        return terms

    def fit(training: loop.Training) -> None:
        plain_fit(training)
        bank = training.method.discrimination.bank
        told = {
            "seen": seen,
            "losses": torch.stack(losses),
            "rows": bank.rows,
            "normalizer": bank.normalizer,
            "weights": dict(training.method.network.named_parameters()),
        }
        torch.save(told, f"{folder}/rank{rank}.pt")

    loop.training_step = training_step
    life_cycle.fit = fit
    assert main([*map(str, WORDS), *more, "--out", f"{folder}/run"]) == 0


def train(
    world_size: int, folder: Path, more: list[str], work: Callable[..., None] = train_and_tell
) -> list[dict]:
    folder.mkdir()
    as_group(world_size, work, str(folder), more)
    return [torch.load(folder / f"rank{r}.pt", weights_only=True) for r in range(world_size)]


@pytest.mark.parametrize(
    "more",
    [
        [],
        pytest.param(["--accumulate", "2", "--crop-padding", "2"], marks=pytest.mark.slow),
    ],
)
def test_two_processes_share_one_bank_and_split_each_batch(tmp_path: Path, more: list[str]) -> None:
    (alone,) = train(1, tmp_path / "one", more)
    first, second = train(2, tmp_path / "two", more)

    assert torch.equal(first["rows"], second["rows"])
    assert torch.equal(first["normalizer"], second["normalizer"])
    assert all(torch.equal(w, second["weights"][k]) for k, w in first["weights"].items())

    # Each batch of the single process is parted between the two, none seen twice.
    for (step, images), (step1, part1), (step2, part2) in zip(
        alone["seen"], first["seen"], second["seen"], strict=True
    ):
        assert step == step1 == step2
        assert sorted(part1 + part2) == sorted(images)
    for epoch in range(EPOCHS):
        steps = range(epoch * 7, (epoch + 1) * 7)
        images = [i for step, part in first["seen"] + second["seen"] if step in steps for i in part]
        assert sorted(images) == list(range(IMAGES))

    # The rows have moved from where they began, and Z is near the single process's: batch norm
    # sees half a batch, so not the same.
    start = torch.empty_like(first["rows"])
    bound = 1 / np.sqrt(start.shape[1] / 3)
    assert first["rows"].abs().max() > bound
    assert abs(first["normalizer"] / alone["normalizer"] - 1) < 0.2


def test_without_batch_norm_two_processes_are_one(tmp_path: Path) -> None:
    options = [
        "--precision",
        "32-true",
        "--learning-rate",
        "0.001",
        "--num-noise",
        "64",
        "--instance-loss",
        "infonce",
    ]
    work = train_without_batch_norm_and_tell
    (single,) = train(1, tmp_path / "one", options, work)
    first, _ = train(2, tmp_path / "two", options, work)
    assert single["losses"][-1, 1] < 0.7 * single["losses"][0, 1]  # the turns are being learned
    torch.testing.assert_close(first["losses"], single["losses"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(first["rows"], single["rows"], rtol=0, atol=1e-6)
    # A rounding that takes a ReLU across zero shows in single weights.
    torch.testing.assert_close(first["weights"], single["weights"], rtol=0, atol=5e-5)
