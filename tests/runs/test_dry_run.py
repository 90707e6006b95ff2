"""``pretrain --dry-run``: what a training would take, and nothing written."""

from __future__ import annotations

import os
import re

import pytest

import quarterturn
from quarterturn.cli import main
from quarterturn.errors import ConfigError
from quarterturn.methods.memory import checkpoint_bytes
from quarterturn.presets import preset
from quarterturn.runs import dry_run

WORDS = ["pretrain", "digits", "--limit", "200", "--batch-size", "32", "--epochs", "3"]


def test_says_what_it_takes_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*WORDS, "--dry-run", "--out", "deep/run", "--workers", "0"]) == 0
    found = capsys.readouterr()
    printed = " ".join((found.out + found.err).split())
    assert "200 images to learn from, 450 held out" in printed
    assert "3 epochs of 7 steps" in printed
    assert "memory for a step, estimated:" in printed
    assert re.search(r"3 steps took [\d.]+ m?s each, so an epoch of 7 steps over 200", printed)
    assert re.search(r"checkpoints take \d+ MB on the disk of deep/run, where", printed)
    assert printed.endswith("dry run: nothing was written")
    assert os.listdir(tmp_path) == []


def test_what_a_training_refuses_is_refused(tmp_path):
    place = tmp_path / "run"
    place.mkdir()
    with pytest.raises(ConfigError, match="exists; choose another --out"):
        quarterturn.pretrain("digits", out=place, limit=64, epochs=1, dry_run=True)
    with pytest.raises(ConfigError, match="--epochs is -1"):
        quarterturn.pretrain("digits", epochs=-1, dry_run=True)


def test_a_full_disk_is_named(tmp_path, monkeypatch, caplog):
    class Full:
        free = 1000

    monkeypatch.setattr(dry_run.shutil, "disk_usage", lambda path: Full)
    run = quarterturn.pretrain(
        "digits", out=tmp_path / "run", limit=64, batch_size=16, epochs=1, dry_run=True
    )
    assert "more than is free: give --out RUN on another disk" in caplog.text
    assert not run.path.exists()


def test_checkpoints_are_as_large_as_was_said(tmp_path):
    config = preset("digits").with_settings(epochs=1, limit=64, batch_size=32, diagnostics=False)
    run = quarterturn.pretrain("digits", config=config, out=tmp_path / "run")
    size = run.checkpoint.stat().st_size
    assert checkpoint_bytes(config, 64) == pytest.approx(size, rel=0.05)
