"""What stops a command from outside is said in words."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest
import torch

from quarterturn.errors import CheckpointError, DataError, MachineError, OutputError
from quarterturn.files import atomic_write, refusal
from quarterturn.runs.failures import (
    Terminated,
    failures_explained,
    is_stop,
    stops_noted,
    with_notes,
)

KILLED = "DataLoader worker (pid 77) is killed by signal: "


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError(f"{KILLED}Killed. "), r"\(77\) was killed, .* fewer --workers"),
        (RuntimeError(f"{KILLED}Bus error. It is possible"), r"shared memory \(/dev/shm\) left"),
        (RuntimeError(f"{KILLED}Segmentation fault. "), r"'Segmentation fault'; --workers 0"),
        (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), r"\(7, 8\) ended"),
        (RuntimeError("unable to mmap 4 bytes from file </torch_7_8>: No space"), "/dev/shm"),
        (RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you"), "batch-size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), "out of memory; a smaller"),
        (MemoryError(), "out of memory; a smaller"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_machine_is_named_as_the_cause(error: Exception, words: str) -> None:
    with pytest.raises(MachineError, match=words) as caught, failures_explained():
        raise error
    assert "disk" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_worker_terminated_with_the_rest_is_no_failure() -> None:
    with pytest.raises(Terminated), failures_explained():
        raise RuntimeError(f"{KILLED}Terminated. ")


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("worker"), Terminated()]
)
def test_other_errors_pass_as_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, failures_explained():
        raise error
    assert caught.value is error


class Interrupting(io.BytesIO):
    """A file amid whose writing something happens."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def write(self, part: object) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (Terminated(), Terminated),
        (RuntimeError(f"{KILLED}Killed. "), MachineError),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OutputError),
    ],
)
def test_a_stop_amid_a_checkpoint_keeps_its_name(error, becomes, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    with pytest.raises(becomes) as caught, failures_explained(), atomic_write(path):
        torch.save({"weights": torch.zeros(1000)}, Interrupting(error))  # torch raises its own
    assert ("free some space" in str(caught.value)) == (becomes is OutputError)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_killed_amid_another_error_is_no_refusal() -> None:
    error = RuntimeError(f"{KILLED}Killed. ")
    error.__context__ = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert refusal(error) is None


@pytest.mark.parametrize(
    ("error", "stops"),
    [
        (KeyboardInterrupt(), True),
        (OutputError("cannot write"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (CheckpointError("cannot be read"), False),
        (DataError("too many"), False),
    ],
)
def test_only_stops_are_noted_with_the_way_back(error: BaseException, stops: bool) -> None:
    with pytest.raises(type(error)) as caught, stops_noted(lambda: "resume with: this"):
        raise error
    assert with_notes(caught.value).endswith("; resume with: this") == stops
    assert is_stop(error) == stops
