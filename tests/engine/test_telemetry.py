from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from quarterturn.engine.telemetry import ESTIMATE_AFTER, Telemetry
from quarterturn.errors import CheckpointError, TrainingError


def terms(value: float) -> dict[str, torch.Tensor]:
    return {"loss": torch.tensor(value), "rotation": torch.tensor(value / 2)}


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_holds_the_mean_of_its_steps(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with Telemetry(path, total_steps=6, steps_per_epoch=3, log_every=2) as telemetry:
        for step in range(5):
            telemetry.step(step, terms(float(step)), 8, rate=0.1)
        telemetry.flush()
    lines = lines_of(path)
    assert [line["step"] for line in lines] == [1, 3, 4]
    assert [line["epoch"] for line in lines] == [0, 1, 1]
    assert [line["loss"] for line in lines] == [0.5, 2.5, 4.0]
    assert [line["rotation"] for line in lines] == [0.25, 1.25, 2.0]
    assert all(line["learning_rate"] == 0.1 and line["images_per_s"] > 0 for line in lines)


def test_the_first_step_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with Telemetry(path, total_steps=9, steps_per_epoch=9, log_every=4) as telemetry:
        telemetry.last_checkpoint = "checkpoints/last.ckpt (step 0)"
        for step, value in enumerate([1.0, 2.0, float("nan")]):
            telemetry.step(step, terms(value), 8, rate=0.1)
        with pytest.raises(
            TrainingError, match=r"at step 2 \(loss nan, rotation nan\).*last\.ckpt \(step 0\)"
        ):
            telemetry.step(3, terms(float("inf")), 8, rate=0.1)
    assert lines_of(path) == []


def test_a_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with Telemetry(path, total_steps=9, steps_per_epoch=9, log_every=1) as telemetry:
        telemetry.step(0, terms(1.0), 8, rate=0.1)
        state = telemetry.state_dict()
        telemetry.step(1, terms(2.0), 8, rate=0.1)
    assert len(lines_of(path)) == 2

    again = Telemetry(path, total_steps=9, steps_per_epoch=9, log_every=1)
    again.load_state_dict(state)
    with again:
        assert again.elapsed_s >= state["elapsed_s"]
        again.step(1, terms(3.0), 8, rate=0.1)
    assert [line["loss"] for line in lines_of(path)] == [1.0, 3.0]

    path.unlink()
    with pytest.raises(CheckpointError, match="shorter than when"), again:
        pass


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with Telemetry(None, total_steps=9, steps_per_epoch=9) as telemetry:
        telemetry.path = tmp_path / "metrics.jsonl"
        telemetry._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl: No space left on device"):
            telemetry.record("train", step=0, epoch=0, loss=1.0)


def test_the_time_to_expect_is_reported_after_twenty_steps(caplog) -> None:
    caplog.set_level(logging.INFO)
    with Telemetry(None, total_steps=100, steps_per_epoch=50) as telemetry:
        for step in range(ESTIMATE_AFTER):
            assert "an epoch" not in caplog.text
            telemetry.step(step, terms(1.0), 8, rate=0.1)
    assert "an epoch, 0 s until the end" in caplog.text
    assert "--epochs" not in caplog.text  # nothing to shorten


def test_reports_flags_that_shorten_a_long_run(caplog) -> None:
    caplog.set_level(logging.INFO)
    with Telemetry(None, total_steps=10**6, steps_per_epoch=1000) as telemetry:
        telemetry._start -= 20.0  # a second a step
        for step in range(ESTIMATE_AFTER):
            telemetry.step(step, terms(1.0), 8, rate=0.1)
    assert "17 min an epoch, 12 days until the end; shorter with --epochs" in caplog.text


def test_a_training_of_iterations_reports_the_time_of_one(caplog) -> None:
    caplog.set_level(logging.INFO)
    with Telemetry(None, total_steps=100, steps_per_epoch=10, in_iterations=True) as telemetry:
        telemetry._start -= 2 * ESTIMATE_AFTER
        for step in range(ESTIMATE_AFTER):
            telemetry.step(step, terms(1.0), 8, rate=0.1)
    assert "about 2 s an iteration, 3 min until the end" in caplog.text
