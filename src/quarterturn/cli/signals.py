"""Signals that end a command: raised where it stands, so that it ends in words."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from quarterturn.engine.torchrun import num_processes
from quarterturn.runs.failures import Terminated


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise `Terminated` when SIGTERM comes within the block, as Python does for Ctrl-C.

    Not where somebody else has taken the signal, and not under torchrun: a process that waits for
    others in C would not see the exception before torchrun's patience ends, in half a minute.
    """
    is_free = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not is_free or not in_main_thread or num_processes() > 1:
        yield
        return
    own = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a loader's worker, before it has handlers of its own
            os._exit(128 + number)
        raise Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
