"""Under torchrun a killed process ends all others, with its reason; a script has many commands."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

WORDS = "pretrain digits --epochs 500 --num-noise 16 --batch-size 64 --device cpu --no-diagnostics"
START_S, END_S = 180, 60  # of a busy machine; undisturbed it takes 15 and 12


class Agents:
    """Torchrun's agents of a training on one machine, as if each had a machine of its own."""

    def __init__(self, folder: Path, agents: int, processes: int) -> None:
        self.folder, self.run = folder, folder / "run"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            endpoint = f"127.0.0.1:{free.getsockname()[1]}"
        rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", "test"]
        here = ["--nnodes", str(agents), "--nproc-per-node", str(processes)]
        command = [sys.executable, "-m", "torch.distributed.run", *here, *rendezvous]
        words = ["-m", "quarterturn", *WORDS.split(), "--out", str(self.run)]
        self.agents = []
        for number in range(agents):
            with open(self._log(number), "w") as log:
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                self.agents.append(
                    subprocess.Popen([*command, *words], stdout=log, stderr=log, env=environment)
                )

    def _log(self, number: int) -> Path:
        return self.folder / f"agent{number}.log"

    def log(self, number: int) -> str:
        return self._log(number).read_text()

    def wait_for_steps(self) -> None:
        """Wait until all processes have made a few steps together."""
        metrics, end = self.run / "metrics.jsonl", time.monotonic() + START_S
        while not (metrics.exists() and metrics.stat().st_size):
            assert time.monotonic() < end, self.log(0)
            time.sleep(0.2)

    def process_of_rank(self, rank: int) -> int:
        """The number of the process that has a rank."""
        for agent in self.agents:
            children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
            for child in children:
                if f"RANK={rank}" in Path(f"/proc/{child}/environ").read_text().split("\0"):
                    return int(child)
        raise AssertionError(f"no process of rank {rank}")

    def wait(self) -> float:
        """Wait until all agents have failed; returns the seconds."""
        start = time.monotonic()
        for agent in self.agents:
            assert agent.wait(timeout=END_S) == 1
        return time.monotonic() - start

    def kill(self) -> None:
        for agent in self.agents:
            agent.terminate()
            agent.wait()


@pytest.fixture
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Agents]:
    agents = Agents(tmp_path, *request.param)
    yield agents
    agents.kill()


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]


@pytest.mark.parametrize("started", [(2, 1)], indirect=True)
def test_a_killed_machine_ends_the_other(started: Agents) -> None:
    started.wait_for_steps()
    os.kill(started.process_of_rank(1), signal.SIGKILL)
    assert started.wait() < END_S
    survivor, killed = sorted((started.log(0), started.log(1)), key=lambda log: "SIGKILL" in log)
    assert "Signal 9 (SIGKILL) received" in killed
    told = "lost the connection to another process of this command"
    assert told in survivor  # though the rendezvous of the agents may be lost too
    assert "resume with: quarterturn pretrain --resume" in survivor
    assert "quarterturn/" not in survivor.partition("Traceback")[2]  # torchrun's, not ours


@pytest.mark.parametrize("started", [(1, 2)], indirect=True)
def test_the_killed_process_is_named(started: Agents) -> None:
    started.wait_for_steps()
    os.kill(started.process_of_rank(1), signal.SIGKILL)
    assert started.wait() < END_S
    _, _, cause = started.log(0).partition("Root Cause")
    assert "rank      : 1" in cause
    assert "Signal 9 (SIGKILL) received" in cause


SCRIPT = """
import quarterturn

for seed in range(2):
    run = quarterturn.pretrain(
        "digits", method="rotnet", epochs=1, limit=64, seed=seed, batch_size=32, device="cpu",
        diagnostics=False, out=f"run-{seed}",
    )
quarterturn.probe(run.path, "digits", kind="knn", limit=64, seeds=1, device="cpu")
"""


def test_a_script_calls_one_command_after_another(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    done = subprocess.run(
        [*launch, "2", "script.py"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=START_S,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("run-1/probes/*.json"))) == 1
