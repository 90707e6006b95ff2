"""Views are compared over all processes: two of them learn what one learns from the whole batch."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from quarterturn.config import BalanceConfig, DataConfig, ModelConfig, OptimizerConfig
from quarterturn.data.view_batches import ViewBatch
from quarterturn.engine.loop import training_step
from quarterturn.engine.runtime import Runtime
from quarterturn.methods.build import build_method
from quarterturn.methods.configuration import Config
from quarterturn.methods.multiview_options import MultiviewOptions

from .processes import as_group

NUM, LABELS = 7, torch.tensor([0, 0, 0, 0, 1, 0, 2])  # one process gets four, the other three


def part(rows: slice) -> ViewBatch:
    generator = torch.Generator().manual_seed(1)
    full = torch.randn(NUM, 2, 3, 16, 16, generator=generator)
    small = torch.randn(NUM, 4, 3, 8, 8, generator=generator)
    turns = torch.randint(4, (NUM, 6), generator=generator)
    return ViewBatch(torch.arange(NUM)[rows], full[rows], turns=turns[rows], small=small[rows])


def learn(runtime: Runtime, rows: slice) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One step's terms, and the gradient of every weight; batch norm is not in question here."""
    config = Config(
        data=DataConfig(image_size=16),
        model=ModelConfig(backbone="nin3"),
        method=MultiviewOptions(
            embedding_dim=8, head_width=16, same_crop=True, invariance_weight=0.5
        ),
        balance=BalanceConfig(beta=0.99, reweight_from=0.0),
    ).with_settings(
        upright="auto",
        balance_turns=True,
        balance_agnostic=True,
        balance_semantic=True,
        counts="labels",
    )
    method = build_method(
        config,
        NUM,
        p_upright=torch.rand(NUM, 4, generator=torch.Generator().manual_seed(2)),
        agnostic=torch.tensor([0.0, 1, 0, 0, 0, 0, 1]),
        labels=LABELS,
        gather_own_first=runtime.gather_own_first,
    )
    method.network.eval()
    training: Any = SimpleNamespace(
        method=method,
        batches=SimpleNamespace(steps_per_epoch=1),
        epochs=1,
        phase_at=lambda _: range(1),
        step=0,
        optimizer=torch.optim.SGD(method.network.parameters(), lr=0.0),
        runtime=runtime,
        settings=OptimizerConfig(),
    )
    terms = training_step(training, runtime.wrap(method.network), part(rows))
    found = {name: p.grad for name, p in method.network.named_parameters() if p.grad is not None}
    return deepcopy(terms), found


def learn_as_one_of_two(rank: int, folder: str) -> None:
    runtime = Runtime("cpu", "32-true")
    found = learn(runtime, slice(0, 4) if rank == 0 else slice(4, NUM))
    main = runtime.of_main(torch.full((3,), float(rank)))
    torch.save((*found, main), f"{folder}/rank{rank}.pt")


def test_two_processes_equal_one(tmp_path: Path) -> None:
    as_group(2, learn_as_one_of_two, str(tmp_path))
    terms, gradients = learn(Runtime("cpu", "32-true"), slice(None))
    assert list(terms) == ["loss", "rotation", "invariance", "instance", "rotation_accuracy"]
    for rank in (0, 1):
        their_terms, theirs, main = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        for name, value in terms.items():
            assert float(their_terms[name]) == pytest.approx(float(value), rel=1e-6)
        assert theirs.keys() == gradients.keys()
        largest = max(float(gradient.abs().max()) for gradient in gradients.values())
        for weight, gradient in gradients.items():
            difference = (theirs[weight] - gradient).abs().max()
            assert float(difference) < 1e-6 * largest, weight
        assert main.tolist() == [0, 0, 0]
