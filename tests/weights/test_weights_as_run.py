"""Weights in place of a run: when they are imported, and where they are found again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarterturn import ConfigError, Embedder, embed, explore, export, label, neighbors, probe
from quarterturn.runs import Run
from quarterturn.weights import weights_as_run
from quarterturn.weights.start import run_directory
from quarterturn.weights.weights_as_run import as_run, run_of


@pytest.fixture
def weights(
    digits_run: Run,
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A file of weights, and a working directory without runs."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    export(digits_run.path, format="safetensors", out=path)
    monkeypatch.chdir(tmp_path)
    return path


@pytest.mark.parametrize(
    ("command", "arguments", "options"),
    [
        (embed, ["digits"], {"out": "x.txt"}),
        (embed, [], {"out": "x.npz"}),
        (neighbors, ["0"], {"data": "digits", "out": "x.txt"}),
        (neighbors, ["0", "1"], {"data": "digits", "out": "x.png"}),
        (neighbors, ["0"], {}),
        (label, [], {"data": "digits", "out": "x.txt"}),
        (probe, ["digits"], {"kind": "nothing"}),
        (explore, [], {"data": "digits", "out": "file"}),
    ],
)
def test_a_refused_command_imports_nothing(
    weights: Path, command: Callable[..., Any], arguments: list[str], options: dict[str, Any]
) -> None:
    Path("file").touch()
    given = [arguments] if len(arguments) > 1 else arguments
    with pytest.raises(ConfigError):
        command(weights, *given, **options)
    assert not Path("runs").exists()


def test_a_file_is_read_once(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    open_start = weights_as_run.open_start
    monkeypatch.setattr(
        weights_as_run, "open_start", lambda *args, **rest: read.append(1) or open_start(*args)
    )
    embedder = Embedder(weights, device="cpu").fit()
    embedder.transform(np.zeros((2, 8, 8), np.uint8))
    assert as_run(weights, "digits") == run_of(str(weights)).path == Path("runs/w-1")
    assert len(read) == 1
    os.utime(weights, (1, 1))
    assert run_of(weights).path == Path("runs/w-1")  # by its hash
    assert len(read) == 2
    shutil.rmtree("runs")
    assert (run_of(weights).path / "config.json").exists()


def test_our_checkpoints_mean_their_run(digits_run: Run, weights: Path, tmp_path: Path) -> None:
    assert as_run(digits_run.checkpoint, None) == digits_run.path
    (tmp_path / "checkpoints").mkdir()
    for name in ("x.ckpt", "checkpoints/epoch=1.ckpt"):  # Lightning's are named so
        assert run_directory(shutil.copy(weights, tmp_path / name)) is None
    assert run_directory("timm:resnet18") is None
