"""``examples/slurm.sbatch``, with a Slurm that only writes down what it is asked for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "slurm.sbatch"
COMMANDS = {
    "srun": 'shift; "$@"',
    "scontrol": '[[ $1 == show ]] && printf "node7\\nnode8\\n" || echo "$*" >> "$NOTES"',
    "torchrun": 'echo "$*" >> "$NOTES"; [[ -z $MADE ]] || { mkdir -p "$MADE"; '
    'echo "{}" > "$MADE/config.json"; }; exit "$STATUS"',
}

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def submit(tmp_path):
    """Runs the script; returns its exit status and the words of torchrun and of scontrol."""
    for name, words in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{words}\n")
        (tmp_path / name).chmod(0o755)
    notes, run = tmp_path / "notes", tmp_path / "a run"

    def call(
        status: int, *, makes: bool = True, restarts: int = 0, seed: str = ""
    ) -> tuple[int, list[str]]:
        notes.write_text("")
        environment = {
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "SLURM_JOB_NODELIST": "node[7-8]",
            "SLURM_JOB_ID": "42",
            "SLURM_NNODES": "2",
            "SLURM_GPUS_ON_NODE": "8",
            "SLURM_RESTART_COUNT": str(restarts),
            "NOTES": str(notes),
            "STATUS": str(status),
            "MADE": str(run / seed) if makes else "",
        }
        words = ["bash", str(SCRIPT), "photos", str(run), "--epochs", "3"]
        done = subprocess.run(words, env=environment, timeout=60)
        return done.returncode, notes.read_text().splitlines()

    return call, run


def test_begins_and_asks_again_and_resumes_until_it_is_done(submit):
    call, run = submit
    cluster = "--nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint node7:29500"
    words = f"{cluster} --rdzv-id 42 -m quarterturn pretrain"
    assert call(143) == (143, [f"{words} photos --out {run} --epochs 3", "requeue 42"])
    assert call(1, restarts=1) == (1, [f"{words} --resume {run}", "requeue 42"])
    assert call(0, restarts=2) == (0, [f"{words} --resume {run}"])


def test_resumes_several_seeds_by_their_directory(submit):
    call, run = submit
    status, (_, *asked) = call(143, seed="seed-0")
    assert (status, asked) == (143, ["requeue 42"])
    _, (words,) = call(0, seed="seed-0")
    assert words.endswith(f"-m quarterturn pretrain --resume {run}")


def test_does_not_ask_again_where_nothing_has_begun(submit):
    status, (_, *asked) = submit[0](2, makes=False)
    assert (status, asked) == (2, [])


def test_does_not_ask_again_for_ever(submit):
    status, (_, *asked) = submit[0](1, restarts=20)
    assert (status, asked) == (1, [])
