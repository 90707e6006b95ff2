"""How a command that fails says so: on the terminal, and to torchrun where that has started it."""

from __future__ import annotations

import sys
import time

from quarterturn.engine.torchrun import (
    LATER_S,
    LOST,
    OUTLIVED_S,
    has_lost_another,
    is_first_on_machine,
    num_processes,
    process_rank,
    record_failure,
)
from quarterturn.errors import ConfigError, QuarterturnError


def refuse_several(name: str) -> None:
    """Refuse to do the work of a command several times over.

    Args:
        name: Of the command.

    Raises:
        ConfigError: Torchrun has started several processes.
    """
    if (processes := num_processes()) > 1:
        raise ConfigError(
            f"{name} runs in one process, and torchrun has started {processes}: call it without "
            "torchrun"
        )


def report_failure(words: str, status: int = QuarterturnError.exit_status) -> int:
    """Print why the command ends, and leave it for torchrun.

    Args:
        words: Why.
        status: The exit status.

    Returns:
        The exit status.
    """
    record_failure(words)
    if process_rank() != 0:
        time.sleep(LATER_S)
    _print(words)
    return status


def _print(words: str) -> None:
    place = "" if num_processes() == 1 else f", process {process_rank()} of {num_processes()}"
    print(f"quarterturn{place}: {words}", file=sys.stderr, flush=True)


def report_error(error: Exception, after: str) -> int:
    """Report an error that the library did not raise on purpose, if it is a lost process.

    Args:
        error: It.
        after: What the user can do afterwards; may be empty.

    Returns:
        The exit status.

    Raises:
        Exception: It is a defect of ours: the error itself.
    """
    if not has_lost_another(error):
        record_failure(f"{type(error).__name__}: {error}")
        raise error
    words = f"{LOST}{after and f'; {after}'}"
    if is_first_on_machine():
        _print(words)
    time.sleep(OUTLIVED_S)
    record_failure(words)
    return 2
