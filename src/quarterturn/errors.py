"""The one family of errors that this library raises on purpose.

Each message says what was found, what was expected, and what to do. The command line prints it
without a traceback and exits with the error's status, which is 2 for all but `FindingsError`.
"""

from __future__ import annotations

from typing import ClassVar


class QuarterturnError(Exception):
    """Something the user can put right.

    Attributes:
        exit_status: Of a command that ends by it.
    """

    exit_status: ClassVar[int] = 2


class ConfigError(QuarterturnError):
    """A setting that is unknown, out of range, or at odds with another."""


class DataError(QuarterturnError):
    """Images that are missing, unreadable, or too few."""


class CheckpointError(QuarterturnError):
    """A run or checkpoint that cannot be read, written, or continued."""


class OutputError(QuarterturnError):
    """A file that cannot be written: a full disk, or a folder that may not be written to."""


class TrainingError(QuarterturnError):
    """A training that cannot continue, such as a loss that is no longer a number."""


class MachineError(QuarterturnError):
    """The machine stopped the work: no memory is left, or a process was killed."""


class FindingsError(QuarterturnError):
    """`doctor --strict` found something; all of its files are written."""

    exit_status = 1
