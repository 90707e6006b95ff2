"""Ctrl-C, SIGTERM and killed workers end a command in words, with the way back."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from quarterturn.cli import main
from quarterturn.runs import Run
from tests.engine.equality import assert_same_checkpoint
from tests.engine.processes import (
    delete_at_step,
    kill_worker_at_step,
    quarterturn,
    signal_at_step,
    signal_while_writing,
)

TINY = ("--epochs", 2, "--limit", 48, "--batch-size", 16, "--num-noise", 8, "--device", "cpu")
TINY = (
    *TINY,
    "--method",
    "decoupling",
    "--backbone",
    "convnet",
    "--no-diagnostics",
    "--checkpoint-every",
    1,
)
STOPS = {
    "Ctrl-C": ((signal_at_step, 2, signal.SIGINT), 130, "interrupted"),
    "SIGTERM": ((signal_at_step, 2, signal.SIGTERM), 143, "terminated"),
    "Ctrl-C amid a checkpoint": ((signal_while_writing, 3, signal.SIGINT), 130, "interrupted"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    words = ("pretrain", "digits", *TINY, "--out", folder / "run")
    assert quarterturn(*words, log=folder / "log") == 0
    return folder / "run"


@pytest.mark.parametrize("stop", STOPS)
def test_a_stopped_training_says_how_to_resume(stop: str, whole: Path, tmp_path: Path) -> None:
    sabotage, status, words = STOPS[stop]
    run, log = tmp_path / "my run", tmp_path / "log"
    command = ("pretrain", "digits", *TINY, "--out", run)
    assert quarterturn(*command, log=log, sabotage=sabotage) == status
    last = f"quarterturn: {words}; resume with: quarterturn pretrain --resume '{run}'\n"
    assert log.read_text().endswith(last)
    assert "Traceback" not in log.read_text()
    assert quarterturn("pretrain", "--resume", run, log=log) == 0
    assert_same_checkpoint(run, whole)


def test_a_killed_worker_is_named(photos: Path, tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    words = ("pretrain", photos, *TINY, "--workers", 2, "--image-size", 16, "--out", run)
    assert quarterturn(*words, log=log, sabotage=(kill_worker_at_step, 2)) == 2
    *_, last = log.read_text().splitlines()
    assert last.startswith("quarterturn: a process that reads images (")
    assert "was killed, perhaps because the machine ran out of memory; fewer --workers" in last
    assert last.endswith(f"; resume with: quarterturn pretrain --resume {run}")
    assert "Traceback" not in log.read_text()


def test_a_run_deleted_midway_is_an_error(tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    words = ("pretrain", "digits", *TINY, "--out", run)
    assert quarterturn(*words, log=log, sabotage=(delete_at_step, 2, run)) == 2
    *_, last = log.read_text().splitlines()
    assert last == (
        f"quarterturn: {run} was deleted while the command wrote to it: begin a new run"
    )


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
@pytest.mark.parametrize(
    "place", ["cli.parsing.parse", "collection.embed.embed", "comparing.report.report"]
)
def test_other_commands_end_in_one_line(
    number: int, status: int, words: str, place: str, digits_run: Run, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(f"quarterturn.{place}", lambda *_, **__: os.kill(os.getpid(), number))
    command = "report" if "report" in place else "embed"
    more = [] if command == "report" else ["--out", "x.npz"]
    assert main([command, str(digits_run.path), *more]) == status
    assert capsys.readouterr().err == f"quarterturn: {words}\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_stopped_probe_is_resumed_by_the_same_command(
    digits_run: Run, tmp_path: Path, monkeypatch, capsys
) -> None:
    run = tmp_path / "run"
    shutil.copytree(digits_run.path, run)
    words = ["probe", str(run), "digits", "--kind", "nonlinear", "--limit", "60"]
    monkeypatch.setattr("sys.argv", ["quarterturn", *words])
    monkeypatch.setattr(
        "quarterturn.probing.probe.trained", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert main(words) == 143
    expected = f"terminated; the same command resumes it (quarterturn {' '.join(words)})\n"
    assert capsys.readouterr().err.endswith(expected)
