"""How a command that fails says so: on the terminal, and to torchrun where that has started it."""

from __future__ import annotations

import sys
import time

from quarterturn.engine.torchrun import (
    LATER_S,
    LOST,
    OUTLIVED_S,
    has_lost_another,
    num_processes,
    process_rank,
    record_failure,
)
from quarterturn.errors import ConfigError


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


def report_failure(words: str) -> int:
    """Print why the command ends, and leave it for torchrun.

    Returns:
        The exit status.
    """
    record_failure(words)
    if num_processes() == 1:
        print(f"quarterturn: {words}", file=sys.stderr)
        return 2
    if process_rank() != 0:
        time.sleep(LATER_S)
    place = f"process {process_rank()} of {num_processes()}"
    print(f"quarterturn, {place}: {words}", file=sys.stderr)
    return 2


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
    time.sleep(OUTLIVED_S)
    return report_failure(f"{LOST}{after and f'; {after}'}")
