"""One command at a time writes to a run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import quarterturn
from quarterturn import CheckpointError
from quarterturn.errors import OutputError
from quarterturn.runs import Run, lock
from quarterturn.runs.directory import new_directory
from quarterturn.runs.lock import FILE, locked
from tests.fixtures.runs import MakeRun

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no flock")

BY_THIS_PROCESS = rf"in use by process {os.getpid()} on .* \(called from Python\): one command"
WRITERS: dict[str, Callable[[Path], object]] = {
    "resume": quarterturn.resume,
    "probe": lambda run: quarterturn.probe(run, "digits"),
    "neighbors": lambda run: quarterturn.neighbors(run, "train/0"),
    "orient": lambda run: quarterturn.orient(run, "digits"),
    "export": lambda run: quarterturn.export(run, format="safetensors"),
    "report": lambda run: quarterturn.report(run),
    "--overwrite": lambda run: quarterturn.pretrain("digits", out=run, overwrite=True, epochs=0),
}


@pytest.fixture
def run(make_run: MakeRun) -> Path:
    return make_run(backbone="convnet").path


@pytest.mark.parametrize("command", WRITERS)
def test_commands_that_write_to_a_run_are_refused(command: str, run: Path) -> None:
    before = sorted(run.rglob("*"))
    with locked(run), pytest.raises(CheckpointError, match=BY_THIS_PROCESS):
        WRITERS[command](run)
    assert sorted(run.rglob("*")) == before


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "WAIT_S", 0)


def test_what_killed_commands_left_half_written_is_removed(run: Path) -> None:
    begun = [run / "summary.json.0123.partial", run / "features" / "key.0123.partial"]
    begun[0].touch()
    begun[1].mkdir(parents=True)
    (run / "index").mkdir()
    (run / "index" / "x.0123.partial").touch()  # perhaps of an embed that is at work
    with locked(run):
        assert sorted(run.rglob("*.partial")) == [run / "index" / "x.0123.partial"]


def test_an_abandoned_draft_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    abandoned, empty, at_work, others = (path.with_name(f"run.{n}.partial") for n in "0123")
    for draft in (abandoned, empty, at_work, others):
        draft.mkdir()
    (abandoned / FILE).touch()
    (others / "photo.jpg").touch()
    with locked(at_work), new_directory(path):
        pass
    assert sorted(tmp_path.iterdir()) == [path, at_work, others]


def test_the_next_command_gets_the_lock(run: Path) -> None:
    for _ in range(2):
        with locked(run):
            assert f"process {os.getpid()} " in (run / FILE).read_text()
        assert (run / FILE).read_text() == ""


def test_a_run_is_renamed_with_its_lock(tmp_path: Path) -> None:
    with new_directory(tmp_path / "run") as draft:
        held = locked(draft)
        held.__enter__()
    with pytest.raises(CheckpointError, match="in use"), locked(tmp_path / "run"):
        pass
    held.__exit__(None, None, None)
    with locked(tmp_path / "run"):
        pass


def test_a_lock_on_a_deleted_run_is_none(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = lock.fcntl.flock

    def delete_first(*arguments: int) -> None:
        (run / FILE).unlink()
        plain(*arguments)

    monkeypatch.setattr(lock.fcntl, "flock", delete_first)
    with pytest.raises(CheckpointError, match="was deleted by another command"), locked(run):
        pass


def test_a_folder_that_is_gone_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="its folder does not exist"), locked(tmp_path / "gone"):
        pass


def test_systems_without_locks_warn(run: Path, monkeypatch, caplog) -> None:
    def refuse(*_: object) -> None:
        raise OSError(lock.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with locked(run), locked(run):
        assert "has no locks: start no other command" in caplog.text


HOLD = """
import os, pathlib, sys, time
from quarterturn.runs.lock import locked
with locked(pathlib.Path(sys.argv[1])):
    if sys.argv[2] == "False" or os.fork() == 0:
        print("held", flush=True)
    time.sleep(5)
"""
"""Locks a run, with a child that outlives the process or without, and waits to be killed."""


@pytest.mark.parametrize("outlived", [False, True])
def test_a_killed_process_holds_no_lock(outlived: bool, run: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, run, str(outlived)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(CheckpointError, match=f"in use by process {holder.pid} "), locked(run):
        pass
    holder.kill()
    holder.wait()
    with locked(run):
        holder.stdout.close()


def test_a_finished_run_is_locked_while_it_is_opened(digits_run: Run) -> None:
    with locked(digits_run.path), pytest.raises(CheckpointError, match="in use"):
        quarterturn.resume(digits_run.path)
    assert quarterturn.resume(digits_run.path) == digits_run
