"""The lock on a run: one command at a time writes to it."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from quarterturn.engine.torchrun import process_rank
from quarterturn.errors import CheckpointError
from quarterturn.files import SUFFIX, explained
from quarterturn.runs.closing import command_line

if sys.platform != "win32":
    import fcntl

Command = TypeVar("Command", bound=Callable[..., Any])

logger = logging.getLogger(__name__)

FILE = "lock"
"""Within the run. It stays when the lock is released: a file that others may be about to lock
cannot be deleted safely."""

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without locks answer."""

WAIT_S, WAITS = 0.2, 10
"""Seconds between two looks at who holds a lock, and how many there are."""

_held: set[int] = set()
"""Descriptors of the locks of this process."""


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other commands from writing to a run, and remove what killed ones left half written.

    The operating system releases the lock when the process ends, however it ends.

    Args:
        run: The run directory; it may be renamed meanwhile.

    Raises:
        CheckpointError: Another command works on the run; names its process.
        OutputError: The directory is gone, or may not be written to.
    """
    descriptor = _lock(run / FILE)
    try:
        if descriptor is not None:
            _remove_half_written(run)
        yield
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
            os.close(descriptor)


def locking_its_run(command: Command) -> Command:
    """Make a command hold the lock of the run that it takes first, since it writes to it.

    Of several processes that share the work, only the first writes.
    """

    @wraps(command)
    def run_locked(run: Path | str, *arguments: Any, **keywords: Any) -> Any:
        # What is no run is refused by the command itself, in better words.
        is_run = (Path(run) / "config.json").exists()
        writes = is_run and process_rank() == 0
        with locked(Path(run)) if writes else nullcontext():
            return command(run, *arguments, **keywords)

    return cast(Command, run_locked)


def _lock(file: Path) -> int | None:
    """The open file that holds the lock; None on systems without such locks."""
    if sys.platform == "win32":
        logger.warning(
            f"this system has no locks on files: start no other command on {file.parent} meanwhile"
        )
        return None
    with explained(file):
        # Neither truncated nor replaced on opening, since it says who holds the lock.
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    words = f"process {os.getpid()} on {socket.gethostname()} ({command_line()})\n"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(descriptor)
        os.close(descriptor)
        raise CheckpointError(
            f"{file.parent} is in use by {holder or 'another process'}: one command at a time "
            "writes there. Wait until it ends, or end it, and try again"
        ) from None
    except OSError as error:
        os.close(descriptor)
        if error.errno not in UNSUPPORTED:
            raise
        logger.warning(
            f"the file system of {file.parent} has no locks: start no other command on it meanwhile"
        )
        return None
    if not _is_same_file(descriptor, file):
        os.close(descriptor)
        raise CheckpointError(f"{file.parent} was deleted by another command just now")
    with suppress(OSError):  # a full disk, perhaps; the lock holds all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, words.encode(errors="surrogateescape"), 0)
    _held.add(descriptor)
    return descriptor


def _holder(descriptor: int) -> str:
    """Who holds the lock; may be empty."""
    holder = ""
    for _ in range(WAITS):  # for one that has the lock, but has not said so yet
        time.sleep(WAIT_S)
        holder = os.pread(descriptor, 4096, 0).decode(errors="replace").strip()
        if holder:
            break
    return holder


def _remove_half_written(run: Path) -> None:
    """Remove what is written by nobody any more.

    The index of file headers is left: commands that only read a run write to it.
    """
    for left in run.rglob(f"*{SUFFIX}"):
        if left.relative_to(run).parts[0] == "index":
            continue
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _is_same_file(descriptor: int, file: Path) -> bool:
    """Whether the file is still in its place."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _let_go() -> None:
    """Close what a child process has inherited.

    A loader's worker outlives a killed parent by seconds, in which the run could not be resumed.
    """
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go)
