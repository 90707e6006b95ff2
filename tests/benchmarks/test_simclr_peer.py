"""The peer trains and is probed; it runs as a script, in a process of its own."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quarterturn.runs.record_files import from_json
from quarterturn.runs.records import ProbeResult, ScoreName

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "simclr_peer.py"


@pytest.fixture
def data(tmp_path) -> Path:
    """A .npz file of noise in two classes, which differ in brightness."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, number in [("train", 40), ("test", 24)]:
        labels = np.arange(number) % 2
        pixels = random.integers(0, 128, (number, 16, 16, 3)) + 100 * labels[:, None, None, None]
        arrays |= {f"{split}_images": pixels.astype(np.uint8), f"{split}_labels": labels}
    np.savez(tmp_path / "noise.npz", **arrays)
    return tmp_path / "noise.npz"


@pytest.mark.skipif(importlib.util.find_spec("lightly") is None, reason="lightly is no dependency")
def test_trains_for_the_time_and_writes_the_figures(data, tmp_path):
    out = tmp_path / "figures" / "peer.json"
    words = ["--limit", "32", "--minutes", "0.02", "--views", "16"]
    words += ["--backbone", "convnet", "--probe-seeds", "2", "--device", "cpu", "--out", str(out)]
    subprocess.run([sys.executable, str(SCRIPT), str(data), *words], check=True)
    result = json.loads(out.read_text())
    training = result["training"]
    probed = from_json(result["probe"], ProbeResult)
    assert training["minutes"] >= 0.02
    assert training["views"] == 16 * training["steps"] > 0
    assert training["epochs"] == training["steps"] * 8 / 32
    protocol = probed.protocol
    assert (protocol["training_images"], protocol["test_images"]) == (32, 24)
    assert set(probed.names) == {
        ScoreName("SimCLR", "whole", name, view)
        for name in ("knn-20", "knn-200", "linear")
        for view in ("upright", "turned")
    }
    assert all(len(score.repeats) == 2 for score in probed.scores)
    assert out.with_suffix(".pt").exists()


def test_says_what_to_install(data):
    code = "import runpy, sys; sys.modules['lightly'] = None; runpy.run_path(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install lightly" in done.stderr
    assert "Traceback" not in done.stderr
