"""The switches of imbalance, from the command line to what a run leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import quarterturn.engine.loop as loop
from quarterturn import pretrain, resume
from quarterturn.cli import main
from quarterturn.crossfit.table import write_dat
from quarterturn.runs import Run

from ..engine.process import assert_same_checkpoint, metrics_without_times

SHORT = [
    "pretrain", "digits", "--limit", "60", "--batch-size", "30", "--num-noise", "8",
    "--device", "cpu", "--no-diagnostics",
]  # fmt: skip
CLUSTERED = {
    "limit": 60, "batch_size": 30, "num_noise": 8, "device": "cpu", "diagnostics": False,
    "epochs": 3, "balance_semantic": True, "cluster_every": 1, "num_clusters": 4,
    "reweight_from": 0.6, "checkpoint_every": 1,
}  # fmt: skip


def test_an_interrupted_run_goes_on_with_its_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parted, plain = tmp_path / "whole", tmp_path / "parted", loop.training_step
    pretrain("digits", out=whole, quiet=True, **CLUSTERED)

    def stopping(training: loop.Training, *rest: Any) -> dict[str, torch.Tensor]:
        # Amid the second epoch: the checkpoint has its clusters, and the third's are yet to be.
        if training.step == 3:
            raise KeyboardInterrupt
        return plain(training, *rest)

    monkeypatch.setattr(loop, "training_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        pretrain("digits", out=parted, quiet=True, **CLUSTERED)
    monkeypatch.setattr(loop, "training_step", plain)
    resume(parted, quiet=True)
    assert_same_checkpoint(whole, parted)
    assert metrics_without_times(whole) == metrics_without_times(parted)

    told = Run.open(whole).read_metrics("balance")
    assert [(line["epoch"], line["step"]) for line in told] == [(1, 2), (2, 4)]
    first, second = (line["semantic"] for line in told)
    assert sum(first["counts"]) == sum(second["counts"]) == 60
    assert max(first["margins"]) == pytest.approx(0.5)
    assert first["weights"] is None  # of three epochs, 0.6 is the third
    assert sum(second["weights"]) == pytest.approx(np.count_nonzero(second["counts"]))


def test_labels_that_are_counted_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "run")]
    words = ["--epochs", "1", "--balance-semantic", "--counts", "labels"]
    assert main([*SHORT, *words, *out]) == 0
    told = "labels were read to count classes (--counts labels)"
    assert told in " ".join(capsys.readouterr().err.split())
    run = Run.open(tmp_path / "run")
    assert told in " ".join((run.path / "report.html").read_text().split())
    assert run.config.imbalance.reads_labels
    (line,) = run.read_metrics("balance")
    assert len(line["semantic"]["counts"]) == 10
    assert sum(line["semantic"]["counts"]) == 60


def test_what_cannot_be_balanced_leaves_no_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    np.savez(tmp_path / "bare.npz", train_images=np.zeros((20, 16, 16, 3), np.uint8))
    write_dat(tmp_path / "upright.dat", np.full((60, 4), 0.25, np.float32))
    few = ["--num-noise", "8", "--epochs", "1", "--device", "cpu", "--out", str(out)]
    by_labels = ["--preset", "digits", "--balance-semantic", "--counts", "labels"]
    assert main(["pretrain", str(tmp_path / "bare.npz"), *by_labels, *few]) == 2
    assert "have no labels to count" in capsys.readouterr().err
    agnostic = ["--balance-agnostic", "--upright", str(tmp_path / "upright.dat")]
    assert main([*SHORT, *agnostic, "--epochs", "1", "--out", str(out)]) == 2
    assert "upright.dat cannot be read as the file of" in capsys.readouterr().err
    assert not out.exists()
