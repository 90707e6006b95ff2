"""Interrupted and resumed equals uninterrupted, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .equality import assert_same_checkpoint, metrics_without_times
from .processes import kill_at_step, kill_while_writing, quarterturn

SETTINGS = (
    "--epochs",
    3,
    "--batch-size",
    32,
    "--limit",
    160,
    "--num-noise",
    32,
    "--log-every",
    2,
    "--checkpoint-every",
    3,
    "--diagnostics-every",
    2,
    "--device",
    "cpu",
    "--seed",
    7,
)
STEPS_PER_EPOCH = 5  # 160 images by 32
SMALL = ("--image-size", 24, "--backbone", "convnet", "--method", "decoupling")
KILLS = {
    # Step 9 is one past a checkpoint within the second epoch.
    "mid-epoch": (kill_at_step, STEPS_PER_EPOCH + 4),
    "while a checkpoint is written": (kill_while_writing, 3),
    "before the first checkpoint": (kill_at_step, 1),
    "while the first checkpoint is written": (kill_while_writing, 1),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for i in range(178):
        coarse = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((60, 50)).save(folder / f"{i:03d}.jpg", quality=90)
    return folder


@pytest.fixture(scope="module", params=["digits", "folder with 2 workers"])
def words(request: pytest.FixtureRequest, photos: Path) -> tuple[object, ...]:
    if request.param == "digits":
        parts = ("--accumulate", 2, "--crop-padding", 2, "--noise", "per-image")
        return ("pretrain", "digits", *SETTINGS, *parts)
    return ("pretrain", photos, *SETTINGS, *SMALL, "--workers", 2, "--holdout", 0.1)


@pytest.fixture(scope="module")
def uninterrupted(words: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    assert quarterturn(*words, "--out", folder / "whole", log=folder / "log") == 0
    return folder / "whole"


@pytest.mark.parametrize(
    "kill",
    [pytest.param(kill, marks=pytest.mark.slow if "first" in kill else ()) for kill in KILLS],
)
def test_a_killed_run_resumes_to_the_same_bits(
    words: tuple[object, ...], uninterrupted: Path, kill: str, tmp_path: Path
) -> None:
    run, log = tmp_path / "killed", tmp_path / "log"
    assert quarterturn(*words, "--out", run, log=log, sabotage=KILLS[kill]) == -9
    assert not (run / "report.html").exists()
    assert (run / "checkpoints" / "last.ckpt").exists() == ("first" not in kill)

    assert quarterturn("pretrain", "--resume", run, log=log) == 0, log.read_text()
    assert_same_checkpoint(run, uninterrupted)
    assert metrics_without_times(run) == metrics_without_times(uninterrupted)
    assert (run / "report.html").exists()
    assert not list((run / "checkpoints").glob("*.partial"))


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(photos: Path, tmp_path: Path) -> None:
    for workers in (0, 2):
        run = tmp_path / str(workers)
        words = ("pretrain", photos, *SETTINGS, *SMALL, "--workers", workers, "--out", run)
        assert quarterturn(*words, log=tmp_path / "log") == 0
    assert_same_checkpoint(tmp_path / "0", tmp_path / "2")
    assert metrics_without_times(tmp_path / "0") == metrics_without_times(tmp_path / "2")


@pytest.mark.slow
def test_diagnostics_change_nothing(tmp_path: Path) -> None:
    lines = {}
    for switch in ("--diagnostics", "--no-diagnostics"):
        run = tmp_path / switch
        words = ("pretrain", "digits", *SETTINGS, switch, "--out", run)
        assert quarterturn(*words, log=tmp_path / "log") == 0
        lines[switch] = metrics_without_times(run)
    kinds = [line["kind"] for line in lines["--diagnostics"]]
    assert kinds.count("diagnostics") == 2  # after epochs 2 and 3
    trained = [line for line in lines["--diagnostics"] if line["kind"] == "train"]
    assert trained == lines["--no-diagnostics"]
    assert_same_checkpoint(tmp_path / "--diagnostics", tmp_path / "--no-diagnostics")
