"""Images that have moved since a run began with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from quarterturn import embed, finetune, neighbors, orient, pretrain, resume, resume_finetune
from quarterturn.errors import DataError
from quarterturn.methods.configuration import Config
from quarterturn.runs import Run
from quarterturn.runs.resumption import place_of_data

TINY = {"image_size": 16, "backbone": "convnet", "batch_size": 30, "epochs": 1, "workers": 0}
TINY |= {"device": "cpu", "holdout": 0.3, "diagnostics": False}


@pytest.fixture(scope="module")
def moved(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path, Path]:
    """A run, the place that its images are gone from, and the place where they are now."""
    folder = tmp_path_factory.mktemp("moved")
    before, now = folder / "before", folder / "now"
    shutil.copytree(photos, before)
    run = pretrain(before, out=folder / "run", method="rotnet", **TINY)
    before.rename(now)
    return run, before, now


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (lambda run, out: embed(run, out=out / "x.npz"), "DATA"),
        (lambda run, out: orient(run), "DATA"),
        (lambda run, out: neighbors(run, "blue/00.png"), "--data DATA"),
        (lambda run, out: resume(run), "--data DATA"),
    ],
    ids=["embed", "orient", "neighbors", "resume"],
)
def test_commands_ask_where_the_images_are(
    moved: tuple[Run, Path, Path], command: Callable[..., object], option: str, tmp_path: Path
) -> None:
    run, before, _ = moved
    with pytest.raises(DataError, match=rf"no longer at {before}: .* give {option}$"):
        command(run.path, tmp_path)


def test_a_resumed_run_takes_its_images_from_elsewhere(moved, photos, caplog) -> None:
    run, before, now = moved
    fewer = now.parent / "fewer"
    shutil.copytree(now, fewer)
    (fewer / "red" / "00.png").unlink()
    with pytest.raises(DataError, match=f"images of {fewer} are not those the run began with"):
        resume(run.path, data=fewer)
    assert Run.open(run.path).data == str(before)  # nothing was kept
    (run.path / "report.html").unlink()  # as if it had been stopped at its end
    stored = json.loads((run.path / "config.json").read_text())
    assert resume(run.path, data=now).data == str(now)
    assert json.loads((run.path / "config.json").read_text()) == stored | {"data": str(now)}
    assert (run.path / "report.html").exists()
    assert embed(run.path, out=now.parent / "features.npz").exists()


def test_all_seeds_of_a_classifier_move(photos: Path, tmp_path: Path) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    shutil.copytree(photos, before)
    runs = finetune(before, out=tmp_path / "runs", seeds=2, **TINY)
    before.rename(now)
    with pytest.raises(DataError, match="give --data DATA"):
        resume_finetune(tmp_path / "runs")
    resume_finetune(tmp_path / "runs", data=now)
    assert {Run.open(run.path).data for run in runs} == {str(now)}


def test_data_to_be_downloaded_need_not_be_there(tmp_path: Path) -> None:
    config = Config().with_settings(download=True)
    run = Run(tmp_path / "run", f"cifar10:{tmp_path / 'nowhere'}", config, "abc")
    assert place_of_data(run, None) == run.data
