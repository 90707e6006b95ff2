"""A batch that is computed in parts, with all weights in force, is learned from as a whole.

The parts are those of one process, or of two.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from quarterturn.config import BalanceConfig, DataConfig, ModelConfig, OptimizerConfig
from quarterturn.data.batches import Batch
from quarterturn.engine.loop import training_step
from quarterturn.engine.runtime import Runtime
from quarterturn.methods.base import Method
from quarterturn.methods.build import build_method
from quarterturn.methods.configuration import Config
from quarterturn.methods.decoupling_options import DecouplingOptions

from .processes import as_group

NUM, CLASSES = 7, torch.tensor([60, 9, 2])
LABELS = torch.tensor([0, 0, 0, 0, 1, 0, 2])  # parts of three: the last weighs most


def config(**settings: Any) -> Config:
    whole = Config(
        data=DataConfig(image_size=16),
        model=ModelConfig(backbone="convnet"),
        method=DecouplingOptions(num_noise=5, temperature=0.5, embedding_dim=8),
        balance=BalanceConfig(beta=0.99, reweight_from=0.5),
    )
    return whole.with_settings(**settings)


def batch() -> Batch:
    images = torch.randn(NUM, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return Batch(torch.arange(NUM), images, LABELS)


def learn(
    method: Method, parts: int, epoch: int, *, rank: int = 0, runtime: Runtime | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One step's terms, and the gradient of every weight, by a copy of the method."""
    method, runtime = deepcopy(method), runtime or Runtime("cpu", "32-true")
    method.network.eval()  # batch norm sees one part at a time, which is not in question here
    training: Any = SimpleNamespace(
        method=method,
        batches=SimpleNamespace(steps_per_epoch=1),
        epochs=2,
        phase_at=lambda _: range(2),
        step=epoch,
        optimizer=torch.optim.SGD(method.network.parameters(), lr=0.0),
        runtime=runtime,
        settings=OptimizerConfig(),
    )
    share = batch().split(runtime.world_size)[rank]
    terms = training_step(training, runtime.wrap(method.network), share, parts)
    found = {name: p.grad for name, p in method.network.named_parameters() if p.grad is not None}
    return terms, found


def assert_parts_are_the_whole(method: Method) -> None:
    by_epoch = []
    for epoch in (0, 1):  # weights come into force with the second
        whole, of_whole = learn(method, 1, epoch)
        by_epoch.append(float(whole["loss"]))
        for parts in (2, 3):
            terms, gradients = learn(method, parts, epoch)
            assert terms.keys() == whole.keys()
            assert terms.keys() - {"rotation_accuracy"} == {"loss", *method.term_weights}
            for name, value in whole.items():
                assert float(terms[name]) == pytest.approx(float(value), rel=1e-5)
            assert gradients.keys() == of_whole.keys()
            for name, gradient in of_whole.items():
                torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5)
    assert by_epoch[1] != pytest.approx(by_epoch[0], rel=1e-3)


@pytest.mark.parametrize(
    "loss", ["cross-entropy", "ldam", "focal", "balanced-softmax", "logit-adjusted"]
)
def test_class_weights(loss: str) -> None:
    assert_parts_are_the_whole(classifier(loss))


def all_switches(instance_loss: str) -> Method:
    settings = config(
        upright="auto",
        instance_loss=instance_loss,
        rotation_weight=0.7,
        instance_weight=0.3,
        balance_turns=True,
        balance_agnostic=True,
        balance_semantic=True,
        counts="labels",
    )
    p_upright = torch.rand(NUM, 4, generator=torch.Generator().manual_seed(2))
    agnostic = torch.tensor([0.0, 1, 0, 0, 0, 0, 1])
    method = build_method(settings, NUM, p_upright=p_upright, agnostic=agnostic, labels=LABELS)
    assert method.discrimination is not None
    method.discrimination.bank.normalizer = torch.tensor(20.0)
    return method


@pytest.mark.parametrize("instance_loss", ["nce", "infonce"])
def test_weights_of_kinds_and_of_turns(instance_loss: str) -> None:
    assert_parts_are_the_whole(all_switches(instance_loss))


def test_weights_of_images_without_an_up_on_the_whole_feature() -> None:
    # The weights of the four turns sum to the same for every image; those of groups do not.
    settings = config(method="rotnet", upright="auto", balance_agnostic=True)
    agnostic = torch.tensor([0.0, 0, 0, 0, 0, 0, 1])
    assert_parts_are_the_whole(build_method(settings, NUM, agnostic=agnostic))


def test_weights_kinds_only_on_the_instance_loss() -> None:
    settings = config(method="instance", balance_semantic=True, counts="labels")
    assert_parts_are_the_whole(build_method(settings, NUM, labels=LABELS))


def classifier(loss: str) -> Method:
    """A classifier of `CLASSES` with late weights."""
    settings = config(method="classifier", reweight="drw", loss=loss)
    return build_method(settings, int(CLASSES.sum()), class_counts=CLASSES)


def methods_of_two_processes() -> dict[str, Method]:
    return {
        "ldam": classifier("ldam"),
        "nce": all_switches("nce"),
        "infonce": all_switches("infonce"),
    }


def learn_as_one_of_two(rank: int, folder: str) -> None:
    """Make the steps with this process's share of the batch, four images or three."""
    runtime = Runtime("cpu", "32-true")
    found = {
        f"{name}, epoch {epoch}, {parts} parts": learn(
            method, parts, epoch, rank=rank, runtime=runtime
        )
        for name, method in methods_of_two_processes().items()
        for epoch in (0, 1)
        for parts in (1, 2)
    }
    torch.save(found, f"{folder}/rank{rank}.pt")


def test_two_processes_with_unequal_shares_of_the_weights(tmp_path: Path) -> None:
    as_group(2, learn_as_one_of_two, str(tmp_path))
    first, second = (torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in (0, 1))
    for name, method in methods_of_two_processes().items():
        for epoch in (0, 1):
            terms, gradients = learn(method, 1, epoch)
            for parts in (1, 2):
                for of_rank in (first, second):
                    their_terms, theirs = of_rank[f"{name}, epoch {epoch}, {parts} parts"]
                    for term, value in terms.items():
                        assert float(their_terms[term]) == pytest.approx(float(value), rel=1e-5)
                    assert theirs.keys() == gradients.keys()
                    for weight, gradient in gradients.items():
                        torch.testing.assert_close(theirs[weight], gradient, rtol=1e-3, atol=1e-5)
