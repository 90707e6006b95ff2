"""Run the command line in a process of its own, and kill it where a test wants it."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

import quarterturn.engine.loop as loop
import quarterturn.pages.report as report
from quarterturn.cli import main
from quarterturn.files import write_text

# Children are forked from a server that has the heavy imports behind it, which saves seconds each.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__, "quarterturn.pretraining.pretrain", "sklearn.datasets"])


def kill_at_step(step: int) -> None:
    """Arrange that this process is killed before the given step is made.

    SIGKILL cannot be caught: what is on the disk is what a power cut would leave.
    """
    signal_at_step(step, signal.SIGKILL)


def signal_at_step(step: int, number: int) -> None:
    """Arrange that this process gets a signal before the given step is made."""
    at_step(step, lambda: os.kill(os.getpid(), number))


def kill_worker_at_step(step: int) -> None:
    """Arrange that a process that reads images for this one is killed before the given step."""
    at_step(step, lambda: multiprocessing.active_children()[0].kill())


def delete_at_step(step: int, folder: Path) -> None:
    """Arrange that a folder is deleted before the given step."""
    at_step(step, lambda: shutil.rmtree(folder))


def at_step(step: int, act: Callable[[], object]) -> None:
    """Arrange that something happens before the given step is made."""
    plain = loop.training_step

    def training_step(training: loop.Training, *rest: Any) -> dict[str, torch.Tensor]:
        if training.step == step:
            act()
        return plain(training, *rest)

    loop.training_step = training_step


def signal_while_writing(checkpoint: int, number: int) -> None:
    """Arrange that this process gets a signal amid the n-th checkpoint."""
    plain, written = torch.save, []

    class Signalling:
        def __init__(self, file: BinaryIO) -> None:
            self.file, self.flush = file, file.flush

        def write(self, part: Any) -> int:
            if len(written) == checkpoint:
                written.append(None)
                os.kill(os.getpid(), number)
            return self.file.write(part)

    def save(state: dict[str, Any], file: BinaryIO) -> None:
        written.append(state)
        plain(state, Signalling(file))

    torch.save = save


def kill_at_event(number: int, folder: Path) -> None:
    """Arrange that this process is killed before the n-th event.

    Events are training steps and whatever changes files in a folder: one that is opened for
    writing, renamed or removed. Their number so far is kept in the folder's ``events``.
    """
    happened = 0
    counter = os.open(folder / "events", os.O_WRONLY | os.O_CREAT)

    def happen() -> None:
        nonlocal happened
        happened += 1
        os.pwrite(counter, str(happened).encode(), 0)
        if happened == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE):
            return
        if event in CHANGES and str(folder) in str(arguments[0]):
            happen()

    plain = loop.training_step

    def training_step(training: loop.Training, *rest: Any) -> dict[str, torch.Tensor]:
        happen()
        return plain(training, *rest)

    loop.training_step = training_step
    sys.addaudithook(note)


CHANGES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}
"""Audit events of Python that change files, by the file that they name first."""


def draw_no_page() -> None:
    """A page takes longer than a small training; what it is made from is kept all the same."""
    report.write_page = lambda path, page, folders: write_text(path, "a page\n")
    report.save_figure = lambda folder, figure: None


def kill_while_writing(checkpoint: int) -> None:
    """Arrange that this process is killed when half of the n-th checkpoint is written."""
    plain, written = torch.save, []

    def save(state: dict[str, Any], file: BinaryIO) -> None:
        written.append(state["step"])
        if len(written) == checkpoint:
            whole = io.BytesIO()
            plain(state, whole)
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        plain(state, file)

    torch.save = save


Sabotage = tuple[Any, ...]
"""A function of those above, and its arguments."""


def _child(words: list[str], sabotage: Sabotage | None, log: str) -> None:
    with open(log, "w") as file:
        sys.stdout = sys.stderr = file
        torch.set_num_threads(1)
        # Workers are forked, as from a real command line. Those of a fork server of this process's
        # own would not notice that it was killed, and stay.
        multiprocessing.set_start_method("fork", force=True)
        if sabotage is not None:
            sabotage[0](*sabotage[1:])
        sys.exit(main(words))


def quarterturn(*words: object, log: Path, sabotage: Sabotage | None = None) -> int:
    """Run a command; returns its exit status, -9 when it was killed. Its words go to ``log``."""
    child = started(*words, log=log, sabotage=sabotage)
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def started(*words: object, log: Path, sabotage: Sabotage | None = None) -> Any:
    """Run a command without waiting for its end."""
    child = processes.Process(target=_child, args=([str(w) for w in words], sabotage, str(log)))
    child.start()
    return child


def as_group(world_size: int, work: Callable[..., None], *rest: object) -> None:
    """Run ``work(rank, *rest)`` in so many processes that know of each other, as torchrun does.

    Args:
        world_size: Processes.
        work: A function at the top of its module, since it travels by its name.
        rest: Its further arguments.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [
        processes.Process(target=_member, args=(rank, world_size, port, work, rest))
        for rank in range(world_size)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0


def _member(
    rank: int, world_size: int, port: int, work: Callable[..., None], rest: tuple[object, ...]
) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world_size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    work(rank, *rest)
