"""A run whose checkpoint is damaged, of something else or not finite, as a user resumes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from quarterturn.cli import main
from quarterturn.engine.checkpoint import load_checkpoint
from quarterturn.runs import Run

State = dict[str, Any]


@pytest.fixture
def run(digits_run: Run, tmp_path: Path) -> Run:
    """A copy of the short run, as if it had been interrupted before its page was made."""
    copy = Run.open(shutil.copytree(digits_run.path, tmp_path / "run"))
    (copy.path / "report.html").unlink()
    return copy


def first_tensor(state: State) -> torch.Tensor:
    return next(iter(state["network"].values()))


def without(name: str) -> Callable[[State], None]:
    return lambda state: state.pop(name)


def spoil_network(state: State) -> None:
    values = first_tensor(state)
    values[(0,) * values.ndim] = float("nan")


def misshape_network(state: State) -> None:
    state["network"] = {name: torch.zeros(3) for name in state["network"]}


def misshape_optimizer(state: State) -> None:
    for of in state["optimizer"]["state"].values():
        of["exp_avg"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (without("optimizer"), "it has no 'optimizer'"),
        (without("step"), "it has no 'step'"),
        (without("telemetry"), "it has no 'telemetry'"),
        (without("method"), "it has no 'method'"),
        (lambda state: state.update(step="x"), "step is 'x'; expected 0 to "),
        (lambda state: state.update(step=10**6), "step is 1000000; expected 0 to "),
        (lambda state: state.update(optimizer=[]), "is not of such a training: "),
        (lambda state: state["telemetry"].update(bytes="x"), "telemetry: bytes is 'x'"),
        (lambda state: state["telemetry"].update(elapsed_s=None), "elapsed_s is None"),
        (misshape_network, "size mismatch for backbone"),
        (misshape_optimizer, r"exp_avg of the optimizer has the shape \(3,\)"),
        (spoil_network, r"holds values that are not finite \(network.backbone"),
    ],
)
def test_a_checkpoint_that_does_not_fit(
    run: Run,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[State], object],
    reason: str,
) -> None:
    state = load_checkpoint(run.checkpoint)
    damage(state)
    torch.save(state, run.checkpoint)
    assert main(["pretrain", "--resume", str(run.path)]) == 2
    error = capsys.readouterr().err
    assert pytest.RaisesExc(Exception, match=reason).matches(Exception(error)), error
    assert f"rename {run.previous_checkpoint} to last.ckpt and resume" in error
    assert not (run.path / "report.html").exists()


def test_a_run_continues_from_the_checkpoint_before(
    run: Run, digits_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the message says; it ends with the bits that the first run ended with."""
    damaged = bytearray(run.checkpoint.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    run.checkpoint.write_bytes(damaged)
    assert main(["embed", str(run.path), "--out", str(run.path / "e.npz")]) == 2
    assert "is damaged: Bad CRC-32" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(run.path)]) == 2
    assert f"rename {run.previous_checkpoint} to last.ckpt" in capsys.readouterr().err
    run.previous_checkpoint.rename(run.checkpoint)
    assert main(["pretrain", "--resume", str(run.path)]) == 0
    assert "resuming after step" in capsys.readouterr().err
    again, first = load_checkpoint(run.checkpoint), load_checkpoint(digits_run.checkpoint)
    assert again["step"] == first["step"]
    for name, values in first["network"].items():
        assert torch.equal(again["network"][name], values)
    assert (run.path / "report.html").exists()


def test_a_network_that_is_not_finite_is_not_used(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load_checkpoint(run.checkpoint)
    spoil_network(state)
    torch.save(state, run.checkpoint)
    assert main(["embed", str(run.path), "--out", str(run.path / "e.npz")]) == 2
    assert "not finite" in capsys.readouterr().err
    assert not (run.path / "e.npz").exists()


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ('"epochs": 2', '"epochs": 9', "epochs 9, trained by 2"),
        ('"epochs": 2,', "", "epochs 100, trained by 2"),
        ('"learning_rate": 0.002', '"learning_rate": 0.5', "learning_rate 0.5, trained by 0.002"),
    ],
)
def test_an_edited_config_is_not_trained_by(
    run: Run, capsys: pytest.CaptureFixture[str], setting: str, value: str, words: str
) -> None:
    config = run.path / "config.json"
    text = config.read_text()
    assert setting in text
    config.write_text(text.replace(setting, value))
    for command in (
        ["pretrain", "--resume", str(run.path)],
        ["embed", str(run.path), "--out", str(run.path / "e.npz")],
    ):
        assert main(command) == 2
        assert words in capsys.readouterr().err
