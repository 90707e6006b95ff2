"""What stops a command from outside: a signal, a killed worker, no memory or disk left."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from quarterturn.engine.torchrun import has_lost_another
from quarterturn.errors import CheckpointError, MachineError, OutputError
from quarterturn.files import chain, refusal

DEAD_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) "
    r"(?:is killed by signal: ([\w ]+)|exited unexpectedly)"
)
NO_SHARED_MEMORY = re.compile(r"shared memory|</torch_")
NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)
FEWER_WORKERS = "fewer --workers need less"


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt, it is no `Exception`: nothing may swallow it."""


@contextmanager
def failures_explained() -> Iterator[None]:
    """Say in words that a worker was killed, or that memory ran out, within the block.

    torch raises these wherever the main process happens to be, as errors of any kind.

    Raises:
        MachineError: In place of torch's error, or Python's.
        Terminated: The worker was terminated by a signal that was meant for all processes.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        for inner in chain(error):
            if (dead := DEAD_WORKER.search(str(inner))) is not None:
                if dead[2] == "Terminated":
                    raise Terminated from error
                raise MachineError(_dead_worker_words(dead[1], dead[2])) from error
            if (words := _memory_words(inner)) is not None:
                raise MachineError(words) from error
        raise


@contextmanager
def stops_noted(advice: Callable[[], str]) -> Iterator[None]:
    """`failures_explained`, with a note on how to resume where nothing but that is to be done.

    Args:
        advice: Makes the note.
    """
    try:
        with failures_explained():
            yield
    except BaseException as error:
        if is_stop(error):
            error.add_note(advice())
        raise


def is_stop(error: BaseException) -> bool:
    """Whether the work can be resumed as it is, since nothing in it was wrong."""
    if isinstance(error, CheckpointError | OSError):  # it may be unreadable, or not be written
        return refusal(error) is not None
    if isinstance(error, MachineError | OutputError) or has_lost_another(error):
        return True
    return not isinstance(error, Exception)


def with_notes(error: BaseException) -> str:
    """The words of an error, and what was noted about it on its way."""
    words = {KeyboardInterrupt: "interrupted", Terminated: "terminated"}.get(type(error))
    return "; ".join(part for part in (words or str(error), notes(error)) if part)


def notes(error: BaseException) -> str:
    """What was noted about an error on its way; may be empty."""
    return "; ".join(getattr(error, "__notes__", []))


def _dead_worker_words(numbers: str, signal: str | None) -> str:
    words = f"a process that reads images ({numbers}) "
    if signal is None:
        return f"{words}ended unexpectedly; --workers 0 reads them in the main process"
    if signal.startswith("Bus error"):
        return f"{words}found no shared memory (/dev/shm) left; {FEWER_WORKERS}"
    if signal == "Killed":
        words = f"{words}was killed, perhaps because the machine ran out of memory"
        return f"{words}; {FEWER_WORKERS}"
    return f"{words}was ended by the signal {signal!r}; --workers 0 reads them in the main process"


def _memory_words(error: BaseException) -> str | None:
    """Which memory ran out, and what needs less; None for another error."""
    first = str(error).partition("\n")[0]
    if isinstance(error, RuntimeError) and NO_SHARED_MEMORY.search(str(error)):
        return f"there is no shared memory (/dev/shm) left for the workers; {FEWER_WORKERS}"
    no_memory = isinstance(error, RuntimeError) and NO_MEMORY.search(first) is not None
    if isinstance(error, MemoryError) or no_memory:
        return (
            "out of memory; a smaller --batch-size, more --accumulate, a smaller --image-size or "
            "fewer --workers need less"
        )
    return None
