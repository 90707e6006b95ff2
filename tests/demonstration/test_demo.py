from __future__ import annotations

import json
from pathlib import Path

import pytest

from quarterturn import demo
from quarterturn.presets.unlabelled import demo_folder, digits
from quarterturn.progress import ProgressReporter, Stage, reporting
from quarterturn.runs import Run


class Counted(ProgressReporter):
    """Keeps the outermost stage of the demonstration, whose steps must add up."""

    demo: Stage

    def opened(self, stage: Stage) -> None:
        if stage.name == "demo":
            self.demo = stage


def test_every_row_and_column_on_labelled_data(tmp_path: Path) -> None:
    config = digits().with_settings(epochs=1, num_noise=16, device="cpu")
    run = demo("digits", out=tmp_path / "run", limit=150, config=config)
    results = json.loads((run.path / "results.json").read_text())
    rows = results["rows"]
    assert list(rows) == [
        "raw pixels",
        "raw pixels, four turns",
        "untrained backbone",
        "RotNet",
        "instance only",
        "decoupled: rotation",
        "decoupled: invariant",
        "decoupled: both",
        "supervised, turned (ceiling): logits",
    ]
    four_turns = rows["raw pixels, four turns"]
    # A training set that is closed under turning answers the same to any turn of an image.
    assert four_turns["kNN turned"] == four_turns["kNN"]
    assert rows["raw pixels"]["kNN turned"] < rows["raw pixels"]["kNN"] - 0.2
    assert rows["RotNet"]["rotation"] > 0.5
    assert rows["instance only"]["rotation"] is None
    page = (run.path / "report.html").read_text()
    for name in rows:
        assert name in page
    assert Run.open(run.path).load_network().decoupled


def test_a_folder_without_labels(photos: Path, tmp_path: Path) -> None:
    config = demo_folder().with_settings(
        epochs=1, image_size=24, num_noise=16, batch_size=16, device="cpu", workers=0
    )
    counted = Counted()
    with reporting(counted):
        run = demo(str(photos / "red"), out=tmp_path / "run", config=config)
    assert counted.demo.done == pytest.approx(counted.demo.total)
    results = json.loads((run.path / "results.json").read_text())
    assert "supervised, turned (ceiling): logits" not in results["rows"]
    half = results["rows"]["decoupled: invariant"]
    assert 0 <= half["finds itself"] <= 1
    assert "kNN" not in half
    assert "no labels" in (run.path / "report.html").read_text()
