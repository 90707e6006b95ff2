"""``benchmarks/gpu.sh``: its parts, its deadline, and a whole call of tiny size on the CPU."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
PARTS = ["step-decoupling", "step-multiview", "profile", "table-short", "table-long"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

PYTHON = """#!/usr/bin/env bash
echo "$*" >> "$NOTES"
case "$*" in
    *"$FAILS"*) echo "out of memory" >&2; exit 1 ;;
    *"$HANGS"*) sleep 60 ;;
    *pretrain*) mkdir -p "$OUT/profile"; echo '{"steps": 7}' > "$OUT/profile/profile.json" ;;
    *equal_cost*) sleep 1.2 ;;
esac
echo text
echo '{"figure": 1}'
"""
"""In place of Python: writes down what it is asked for."""


@pytest.fixture
def call(tmp_path):
    """Runs the script with that Python; returns the words of each of its calls."""
    fake, notes, out = tmp_path / "python", tmp_path / "notes", tmp_path / "out"
    fake.write_text(PYTHON)
    fake.chmod(0o755)

    def run(seconds: int, *, fails: str = "-", hangs: str = "-") -> list[str]:
        notes.write_text("")
        environment = {
            **os.environ,
            "PYTHON": str(fake),
            "NOTES": str(notes),
            "OUT": str(out),
            "FAILS": fails if fails != "-" else "no such words",
            "HANGS": hangs if hangs != "-" else "no such words",
        }
        words = ["bash", str(SCRIPT), str(out), "cifar10.npz", str(seconds)]
        subprocess.run(words, env=environment, check=True, capture_output=True, timeout=60)
        return notes.read_text().splitlines()

    return run


def test_long_table_takes_the_time_that_is_left(call, tmp_path):
    calls = call(40)
    assert [Path(words.split()[0]).name for words in calls] == [
        *("step.py", "step.py", "-m"),
        *("equal_cost.py", "equal_cost.py"),
    ]
    assert "--device cuda --precision bf16-mixed --compile" in calls[0]
    out = tmp_path / "out"
    assert [json.loads((out / f"{name}.json").read_text()) for name in PARTS] == [
        *({"figure": 1}, {"figure": 1}, {"steps": 7}, {"figure": 1}, {"figure": 1})
    ]
    # 80 % of 36 to 39 s, over the 1 or 2 s that the short table of 200,000 views took.
    views = int((out / "views").read_text())
    assert 14 * 200_000 <= views <= 31 * 200_000
    assert f"--views {views}" in calls[-1]
    assert call(40) == []  # everything is done


def test_a_part_that_fails_stops_no_other(call, tmp_path):
    calls = call(30, fails="step.py")
    assert len(calls) == 5
    summary = (tmp_path / "out" / "summary.txt").read_text()
    assert "step-multiview: failed with status 1" in summary
    assert ": out of memory" in summary
    assert "table-long: done" in summary
    assert not (tmp_path / "out" / "step-multiview.json").exists()
    assert [words.split()[0].rpartition("/")[2] for words in call(30)] == ["step.py"] * 2


def test_deadline_is_kept_and_the_next_call_continues(call, tmp_path):
    began_s = time.monotonic()
    calls = call(7, hangs="pretrain")
    assert time.monotonic() - began_s < 20
    assert len(calls) == 3
    summary = (tmp_path / "out" / "summary.txt").read_text()
    assert "profile: stopped after" in summary
    assert "table-short: not run, no time is left" in summary
    assert call(30)[0].startswith("-m quarterturn pretrain")


@pytest.mark.slow
def test_every_part_runs_on_the_processor(tmp_path):
    random = np.random.default_rng(0)
    arrays = {}
    for split, number in [("train", 96), ("test", 24)]:
        arrays[f"{split}_images"] = random.integers(0, 256, (number, 32, 32, 3)).astype(np.uint8)
        arrays[f"{split}_labels"] = np.arange(number) % 2
    np.savez(tmp_path / "noise.npz", **arrays)
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "DEVICE": "cpu",
        "PRECISION": "32-true",
        "COMPILE": "",
        "BACKBONE": "resnet20",
        "BATCH": "24",
        "INSTANCES": "100",
        "ROUNDS": "1",
        "WORKERS": "0",
        "LIMIT": "48",
        "VIEWS": "200",
        "ROWS": "untrained;multiview",
    }
    out = tmp_path / "out"
    out.mkdir()
    (out / "views").write_text("400\n")  # as an earlier call has chosen them
    words = ["bash", str(SCRIPT), str(out), str(tmp_path / "noise.npz"), "900"]
    subprocess.run(words, env=environment, check=True)
    found = {name: json.loads((out / f"{name}.json").read_text()) for name in PARTS}
    assert 0 < found["step-decoupling"]["share_of_rate"] < 2
    assert found["step-multiview"]["images_per_s"] > 0
    assert found["profile"]["parts"]["wait for data"]["share"] < 1
    rows = {cell["row"] for cell in found["table-long"]["cells"]}
    assert rows == {"untrained", "multiview"}
