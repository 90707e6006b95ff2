from __future__ import annotations

import json
import logging
import struct
import sys
import time
from pathlib import Path

import pytest
import torch

import quarterturn.engine.metric_loggers as metric_loggers
from quarterturn import ConfigError, pretrain, resume
from quarterturn.cli import main
from quarterturn.engine.metric_loggers import GuardedLogger, LoggedRun, require_logger
from quarterturn.engine.telemetry import Telemetry
from quarterturn.files import write_json
from quarterturn.runs import Run
from tests.fixtures.runs import QUICK

from .equality import assert_same_checkpoint

Scalars = dict[tuple[str, int], list[float]]
"""Name and step to every value that was logged for them."""


def in_the_file(path: Path) -> Scalars:
    """What a logger has to hold of a ``metrics.jsonl``."""
    found: Scalars = {}
    for line in map(json.loads, path.read_text().splitlines()):
        kind, step = line.pop("kind"), line.pop("step")
        for name, value in line.items():
            found.setdefault((f"{kind}/{name}", step), []).append(value)
    return found


def in_event_files(folder: Path) -> Scalars:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    found: Scalars = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            found.setdefault((name, event.step), []).append(event.value)
    return found


def in_wandb_files(folder: Path) -> Scalars:
    """What the files of all offline sessions hold: records in blocks, as LevelDB writes its log."""
    messages = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    found: Scalars = {}
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        data, place, record = path.read_bytes(), 7, b""  # after the file's own header
        while place + 7 <= len(data):
            if (left := 2**15 - place % 2**15) < 7:
                place += left
                continue
            _, length, kind = struct.unpack("<IHB", data[place : place + 7])
            if place + 7 + length > len(data):
                break  # it is being written
            record += data[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):  # a whole record, or the last part of one
                message = messages.Record.FromString(record)
                record = b""
                for item in message.history.item:
                    name = item.key or "/".join(item.nested_key)
                    if not name.startswith("_"):
                        step = message.history.step.num
                        found.setdefault((name, step), []).append(json.loads(item.value_json))
    return found


def assert_same(found: Scalars, expected: Scalars) -> None:
    assert found.keys() == expected.keys()
    for key, values in found.items():
        assert values == pytest.approx(expected[key], rel=1e-6), key  # event files hold float32


def train_steps(folder: Path, logger: str, steps: range, state: dict | None = None) -> dict:
    """Log a step a line, and diagnostics after each second; returns the state amid the steps."""
    telemetry = Telemetry(
        folder / "metrics.jsonl",
        total_steps=20,
        steps_per_epoch=10,
        log_every=1,
        logged=LoggedRun(logger, folder, {"run": {"seed": 0}}),
    )
    if state is not None:
        telemetry.load_state_dict(state)
    kept: dict = {}
    with telemetry:
        for step in steps:
            telemetry.step(step, {"loss": torch.tensor(2.0 + step)}, 8, rate=0.1)
            if step % 2:
                telemetry.record("diagnostics", step=step, epoch=0, spread=0.5, text="words")
            if step == steps[len(steps) // 2]:
                kept = telemetry.state_dict()
    return kept


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights & Biases without any network."""
    pytest.importorskip("wandb", reason="wandb is not installed: pip install quarterturn[wandb]")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_an_interruption_logs_no_step_twice(logger: str, tmp_path: Path) -> None:
    pytest.importorskip(logger, reason=f"{logger} is not installed")
    state = train_steps(tmp_path, logger, range(6))  # the checkpoint is of step 3
    assert state["last_step"] == 3
    ids = {name: (tmp_path / name).read_bytes() for name in ["wandb.json"] if logger == "wandb"}
    train_steps(tmp_path, logger, range(4, 9), state)
    expected = in_the_file(tmp_path / "metrics.jsonl")
    del expected["diagnostics/text", 1], expected["diagnostics/text", 3]
    del expected["diagnostics/text", 5], expected["diagnostics/text", 7]
    assert [step for name, step in expected if name == "train/loss"] == list(range(9))
    if logger == "wandb":
        found = in_wandb_files(tmp_path)
        deadline = time.monotonic() + 30
        while found.keys() < expected.keys() and time.monotonic() < deadline:
            time.sleep(0.1)  # its process writes a moment later
            found = in_wandb_files(tmp_path)
        for name in ("train/images_per_s", "train/elapsed_s", "diagnostics/elapsed_s"):
            for step in (4, 5):  # these are of the clock, and of before the interruption
                found.pop((name, step), None)
                expected.pop((name, step), None)
        assert {name: (tmp_path / name).read_bytes() for name in ids} == ids
    else:
        found = in_event_files(tmp_path / "tensorboard")
    assert_same(found, expected)


@pytest.mark.usefixtures("without_page")
def test_tensorboard_changes_no_bit_and_may_begin_late(
    digits_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "read_metrics", _stop)  # at the end, when the pages are made
        with pytest.raises(KeyboardInterrupt):
            pretrain("digits", out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run" / "tensorboard").exists()
    stored = Run.open(tmp_path / "run")
    state = torch.load(stored.previous_checkpoint, weights_only=True)
    torch.save(state, stored.checkpoint)  # as if the last epoch had not been made
    run = resume(stored.path, config=stored.config.with_settings(logger="tensorboard"))
    assert_same(in_event_files(run.path / "tensorboard"), in_the_file(run.metrics_file))
    assert_same_checkpoint(digits_run.path, run.path)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_a_missing_logger_is_refused_before_anything_is_done(
    logger: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metric_loggers, "find_spec", lambda name: None)
    out = tmp_path / "run"
    for command in ("pretrain", "finetune", "upright"):
        assert main([command, "digits", "--out", str(out), "--logger", logger]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"pip install 'quarterturn[{logger}]'" in said
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_its_name_is_no_logger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "tensorboard", raising=False)
    with pytest.raises(ConfigError, match="--logger tensorboard needs an extra"):
        require_logger("tensorboard")


def test_wandb_without_an_account_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    import wandb

    monkeypatch.setattr(wandb, "login", lambda **_: (_ for _ in ()).throw(OSError("no key.")))
    monkeypatch.setattr(wandb.setup().settings, "mode", "online")
    with pytest.raises(ConfigError, match=r"no key\. Or set WANDB_MODE=offline"):
        require_logger("wandb")


class FullDisk:
    """A logger that fails at the third line."""

    is_new = True

    def __init__(self) -> None:
        self.taken: list[int] = []

    def log(self, line: metric_loggers.Line) -> None:
        if len(self.taken) == 2:
            raise OSError(28, "No space left on device")
        self.taken.append(line["step"])

    def flush(self) -> None: ...

    def close(self, *, failed: bool) -> None:
        raise AssertionError("it was left")


def test_a_logger_that_fails_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    disk = FullDisk()
    guarded = GuardedLogger("wandb", lambda: disk, lambda: [{"kind": "train", "step": 0}])
    for step in range(1, 6):
        guarded.log({"kind": "train", "step": step})
    guarded.flush()
    guarded.close()
    assert disk.taken == [0, 1]
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "No space left on device" in caplog.text
    assert "the training continues" in caplog.text


def test_a_logger_that_does_not_open_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    train_steps(tmp_path, "tensorboard", range(3))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


@pytest.mark.usefixtures("offline")
def test_a_service_that_dies_ends_no_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def gone(*_: object, **__: object) -> None:
        raise ConnectionResetError("the service is gone")

    write_json(tmp_path / "config.json", {})
    monkeypatch.setattr(wandb.Run, "log", gone)
    train_steps(tmp_path, "wandb", range(5))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 7
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert ["the service is gone" in r.getMessage() for r in warnings] == [True]
