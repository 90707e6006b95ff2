"""What one command has extracted, no other extracts again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quarterturn import embed, neighbors, predict
from quarterturn.exploring.explore import Explored
from quarterturn.runs import Run
from quarterturn.runs.lock import locked
from tests.data.pictures import truncate
from tests.fixtures.runs import write_run

HEAVY = ["torchvision", "sklearn", "scipy", "matplotlib", "pandas", "pyarrow"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a classifier of two classes, which nobody has trained."""
    path = tmp_path_factory.mktemp("classifier") / "run"
    return write_run(path, class_names=("blue", "red"))


def test_after_explore_nothing_is_extracted(
    digits_run: Run, explored: Explored, treasure: Path, tmp_path: Path, passes: list[int]
) -> None:
    embed(digits_run.path, treasure, out=tmp_path / "x.npz", workers=0)
    neighbors(digits_run.path, "train/a/02.png", data=treasure, workers=0)
    assert passes == []


def test_predict_and_embed_share_what_they_extract(
    classifier: Run, photos: Path, tmp_path: Path, passes: list[int]
) -> None:
    first, again = tmp_path / "a.csv", tmp_path / "b.csv"
    predict(classifier.path, photos, out=first, workers=0, device="cpu")
    embed(classifier.path, photos, out=tmp_path / "x.npz", workers=0)
    predict(classifier.path, photos, out=again, workers=0, device="cpu")
    assert passes == [60]
    assert first.read_bytes() == again.read_bytes()


def test_a_file_that_has_changed_is_noticed(
    digits_run: Run, photos: Path, tmp_path: Path, passes: list[int]
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos / "red", folder)
    found = []
    for name in ("a.npz", "b.npz"):
        embed(digits_run.path, folder, out=tmp_path / name, workers=0)
        found.append(np.load(tmp_path / name)["embeddings"])
        Image.new("RGB", (20, 20), "green").save(folder / "03.png")
    assert passes == [30, 30]
    assert np.flatnonzero((found[0] != found[1]).any(axis=1)).tolist() == [3]


def test_reasons_are_those_of_the_first_time(
    digits_run: Run, photos: Path, tmp_path: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos / "blue", folder)
    truncate(folder / "07.png")
    told = []
    for name in ("a.npz", "b.npz"):
        embed(digits_run.path, folder, out=tmp_path / name, workers=0)
        told += [line for line in terminal.readouterr().err.splitlines() if "07.png: " in line]
    assert len(told) == 2
    assert told[0] == told[1]
    assert "truncated" in told[0]


def test_a_run_in_use_is_embedded_and_left_alone(
    make_run, photos: Path, tmp_path: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    with locked(run.path):
        embed(run.path, photos, out=tmp_path / "x.npz", workers=0)
    assert not (run.path / "features").exists()
    assert "features are computed and not kept: " in " ".join(terminal.readouterr().err.split())
    embed(run.path, photos, out=tmp_path / "y.npz", workers=0)
    np.testing.assert_array_equal(
        *(np.load(tmp_path / name)["embeddings"] for name in ("x.npz", "y.npz"))
    )


def test_the_second_time_loads_little_beside_torch(
    classifier: Run, photos: Path, tmp_path: Path
) -> None:
    embed(classifier.path, photos, out=tmp_path / "x.npz", workers=0)
    code = f"""
import sys
from quarterturn.cli import main
run, photos, out = sys.argv[1:]
assert main(["neighbors", run, "red/00.png", "--data", photos]) == 0
assert main(["embed", run, photos, "--out", out + ".npz"]) == 0
assert main(["predict", run, photos, "--out", out + ".csv"]) == 0
print("loaded", *(name for name in {HEAVY} if name in sys.modules))
"""
    words = [sys.executable, "-c", code, str(classifier.path), str(photos), str(tmp_path / "y")]
    found = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert found.stdout.splitlines()[-1] == "loaded"
