"""Runs of methods that compare views, from the command line to what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from quarterturn import load_backbone
from quarterturn.cli import main
from quarterturn.runs import Run
from tests.engine.equality import assert_same_checkpoint, metrics_without_times
from tests.engine.processes import kill_at_step, quarterturn

WORDS = (
    *("pretrain", "digits", "--method", "multiview", "--backbone", "resnet20", "--epochs", 2),
    *("--batch-size", 16, "--limit", 48, "--log-every", 1, "--checkpoint-every", 2),
    *("--device", "cpu", "--precision", "32-true", "--seed", 5),
    *("--balance-semantic", "--cluster-every", 1, "--reweight-from", 0.0, "--num-clusters", 3),
)
STEPS_PER_EPOCH = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    path = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*map(str, WORDS), "--out", str(path)]) == 0
    return Run.open(path)


def test_a_killed_run_resumes_to_the_same_bits(run: Run, tmp_path: Path) -> None:
    path, log = tmp_path / "killed", tmp_path / "log"
    kill = (kill_at_step, STEPS_PER_EPOCH + 2)  # amid the second epoch, whose clusters are made
    assert quarterturn(*WORDS, "--out", path, log=log, sabotage=kill) == -9
    assert quarterturn("pretrain", "--resume", path, log=log) == 0, log.read_text()
    assert_same_checkpoint(path, run.path)
    assert metrics_without_times(path) == metrics_without_times(run.path)


def test_no_embedding_is_kept(run: Run) -> None:
    state = torch.load(run.checkpoint, weights_only=True)
    assert list(state["method"]) == ["semantic"]
    assert state["method"]["semantic"]["class_of"].shape == (48,)


def test_losses_and_diagnostics_are_logged(run: Run) -> None:
    lines = run.read_metrics("train")
    assert len(lines) == 2 * STEPS_PER_EPOCH
    for line in lines:
        assert line["loss"] == pytest.approx(0.4 * line["rotation"] + line["instance"], rel=1e-5)
    (last, *_) = run.read_metrics("diagnostics")[::-1]
    assert {"rotation_accuracy", "leakage_fresh_head", "spread"} <= last.keys()
    assert [line["epoch"] for line in run.read_metrics("balance")] == [1]  # clusters


def test_the_page_names_method_and_views(run: Run) -> None:
    page = (run.path / "report.html").read_text("utf-8")
    assert "rotation feature decoupling by views" in page
    assert "each in 2 views and 4 small ones" in page
    assert "memory bank" not in page


def test_halves_are_probed_and_weights_exported(run: Run, tmp_path: Path) -> None:
    words = ["probe", str(run.path), "digits", "--kind", "knn", "--limit", "100"]
    assert main([*words, "--device", "cpu"]) == 0
    (probe,) = (run.path / "probes").glob("*.json")
    assert '"invariant"' in probe.read_text()
    out = tmp_path / "weights.safetensors"
    words = ["export", str(run.path), "--format", "safetensors", "--out", str(out)]
    assert main(words) == 0
    mine, theirs = load_backbone(run.path), load_backbone(out)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(mine(images), theirs(images))
    card = next(tmp_path.glob("*.md")).read_text("utf-8")
    assert "invariant half: 32 to 63" in card
    assert "several turned views" in card or "turned views" in card


def test_features_are_embedded(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "features.npz"
    assert main(["embed", str(run.path), "--out", str(out), "--device", "cpu"]) == 0
    with np.load(out) as found:
        assert found["embeddings"].shape == (1797, 32)


def test_simclr_is_trained_and_has_no_halves(tmp_path: Path) -> None:
    words = [word for word in map(str, WORDS[:-7]) if word != "multiview"]
    words.insert(words.index("--method") + 1, "simclr")
    assert main([*words, "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    run = Run.open(tmp_path / "run")
    assert not run.load_network().decoupled
    assert set(run.read_metrics("train")[0]) >= {"loss", "instance"}
    assert "rotation" not in run.read_metrics("train")[0]


def test_accumulation_and_flattening_backbones_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["pretrain", "digits", "--method", "multiview", "--out", str(tmp_path / "run")]
    for more, message in [
        (["--accumulate", "2"], "compares all images of a batch"),
        (
            ["--backbone", "convnet", "--num-small-views", "3"],
            "takes no views of 8 px: give --num-small-views 0",
        ),
    ]:
        assert main([*words, *more]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()
