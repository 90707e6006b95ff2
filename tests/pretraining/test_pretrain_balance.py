"""The switches of imbalance, from the command line to what a run leaves."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import quarterturn.engine.loop as loop
from quarterturn import pretrain, resume
from quarterturn.cli import main
from quarterturn.config import DataConfig
from quarterturn.data.selection import select_images
from quarterturn.orientation.upright_table import UprightTable, write_dat
from quarterturn.runs import Run

from ..engine.equality import assert_same_checkpoint, metrics_without_times

SHORT = [
    "pretrain",
    "digits",
    "--limit",
    "60",
    "--batch-size",
    "30",
    "--num-noise",
    "8",
    "--device",
    "cpu",
    "--no-diagnostics",
]
CLUSTERED = {
    "limit": 60,
    "batch_size": 30,
    "num_noise": 8,
    "device": "cpu",
    "diagnostics": False,
    "epochs": 3,
    "balance_semantic": True,
    "cluster_every": 1,
    "num_clusters": 4,
    "reweight_from": 0.6,
    "checkpoint_every": 1,
}


def test_an_interrupted_run_resumes_with_its_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parted, plain = tmp_path / "whole", tmp_path / "parted", loop.training_step
    pretrain("digits", out=whole, **CLUSTERED)

    def stopping(training: loop.Training, *rest: Any) -> dict[str, torch.Tensor]:
        # Amid the second epoch: the checkpoint has its clusters, and the third's are yet to be.
        if training.step == 3:
            raise KeyboardInterrupt
        return plain(training, *rest)

    monkeypatch.setattr(loop, "training_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        pretrain("digits", out=parted, **CLUSTERED)
    monkeypatch.setattr(loop, "training_step", plain)
    resume(parted)
    assert_same_checkpoint(whole, parted)
    assert metrics_without_times(whole) == metrics_without_times(parted)

    told = Run.open(whole).read_metrics("balance")
    assert [(line["epoch"], line["step"]) for line in told] == [(1, 2), (2, 4)]
    first, second = (line["semantic"] for line in told)
    assert sum(first["counts"]) == sum(second["counts"]) == 60
    assert max(first["margins"]) == pytest.approx(0.5)
    assert first["weights"] is None  # of three epochs, 0.6 is the third
    assert sum(second["weights"]) == pytest.approx(np.count_nonzero(second["counts"]))


def test_reports_that_labels_are_counted(
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


def write_upright(path: Path, agnostic: np.ndarray) -> np.ndarray:
    """Probabilities and scores of the first 60 digits that are learned from; the former."""
    images = select_images("digits", DataConfig(limit=60)).train
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), (60, 4)).astype(np.float32)
    fold = np.arange(60) % 2
    UprightTable(images.names, probabilities, agnostic, fold, images.fingerprint()).write(path)
    return probabilities[:, :, 0]


def test_rotation_switches_and_the_imbalance_picture_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agnostic = np.linspace(0, 1, 60, dtype=np.float32)
    p_upright = write_upright(tmp_path / "upright.npz", agnostic)
    out = tmp_path / "run"
    words = ["--epochs", "2", "--reweight-from", "0.5", "--balance-turns", "--balance-agnostic"]
    words += ["--agnostic-threshold", "0.9", "--upright", str(tmp_path / "upright.npz")]
    assert main([*SHORT, *words, "--out", str(out)]) == 0
    first, second = Run.open(out).read_metrics("balance")
    turned = p_upright[:, 1:].sum(axis=0)
    expected = [60 + turned.sum(), *(60 - turned)]
    assert first["turns"]["counts"] == pytest.approx(expected, rel=1e-5)
    few = int((agnostic >= 0.9).sum())
    assert first["agnostic"]["counts"] == [60 - few, few]
    assert first["agnostic"]["margins"][1] == pytest.approx(0.5)
    assert first["agnostic"]["weights"] is None
    assert sum(second["agnostic"]["weights"]) == pytest.approx(2)
    told = " ".join(capsys.readouterr().err.split())
    assert "balance-agnostic changes nothing" not in told
    assert "so no turned copy is discounted by" in told

    # What every report of pretrain shows of the collection, and the same as csv.
    page = (out / "report.html").read_text()
    assert "60 of the 60 images, in clusters" in page
    with open(out / "imbalance.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    sizes = Counter(row["cluster"] for row in rows)
    assert all(int(row["cluster_size"]) == sizes[row["cluster"]] for row in rows)
    assert len(sizes) == 10


def test_reports_a_collection_of_one_group(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_upright(tmp_path / "upright.npz", np.linspace(0, 0.4, 60, dtype=np.float32))
    words = ["--epochs", "1", "--balance-agnostic", "--upright", str(tmp_path / "upright.npz")]
    assert main([*SHORT, *words, "--out", str(tmp_path / "run")]) == 0
    told = (
        "--balance-agnostic changes nothing: 0 of 60 images score 0.5 or more (scores go from "
        "0.000 to 0.400)"
    )
    assert told in " ".join(capsys.readouterr().err.split())
    assert told in " ".join((tmp_path / "run" / "report.html").read_text().split())


def test_what_cannot_be_balanced_leaves_no_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    np.savez(tmp_path / "bare.npz", train_images=np.zeros((20, 16, 16, 3), np.uint8))
    write_dat(tmp_path / "upright.dat", np.full((60, 4), 0.25, np.float32))
    few = ["--num-noise", "8", "--epochs", "1", "--device", "cpu", "--out", str(out)]
    by_labels = ["--preset", "digits", "--balance-semantic", "--counts", "labels"]
    assert main(["pretrain", str(tmp_path / "bare.npz"), *by_labels, *few]) == 2
    assert "do not have one label each to count" in capsys.readouterr().err
    agnostic = ["--balance-agnostic", "--upright", str(tmp_path / "upright.dat")]
    assert main([*SHORT, *agnostic, "--epochs", "1", "--out", str(out)]) == 2
    assert "upright.dat is not a file written by" in capsys.readouterr().err
    assert not out.exists()
