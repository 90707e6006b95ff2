"""What a user of the command line sees: narration and progress on stderr, results on stdout.

The library speaks through `logging` and `quarterturn.progress` and installs nothing; only here are
handlers set up, and only in the main process of several.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console, ConsoleRenderable
from rich.logging import RichHandler
from rich.text import Text
from rich.traceback import Traceback

from quarterturn.cli.progress_display import LineProgress, TerminalProgress
from quarterturn.engine.torchrun import process_rank
from quarterturn.progress import reporting

WIDTH = 160
"""Columns where the output is no terminal, so that a log keeps its lines whole."""

RESULTS = "quarterturn.results"
"""The logger of result tables; see `quarterturn.pages.tables.show`."""


class NarrationHandler(RichHandler):
    """Prints messages as they are; a warning says that it is one."""

    def render(
        self,
        *,
        record: logging.LogRecord,
        traceback: Traceback | None,
        message_renderable: ConsoleRenderable,
    ) -> ConsoleRenderable:
        """The bare words: no time, no level, no colours for numbers."""
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        return Text(prefix + record.getMessage())


class ResultsHandler(logging.Handler):
    """Prints result tables."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print the table that was logged, as rich lays it out."""
        self.console.print(record.msg, highlight=False, markup=False)


@contextmanager
def narrated() -> Iterator[None]:
    """Print narration, progress and results of everything within, in the main process only."""
    if process_rank() != 0:
        yield
        return
    stderr = _console(stderr=True)
    narration = NarrationHandler(console=stderr)
    narration.addFilter(lambda record: record.name != RESULTS)
    stdout = _console(stderr=False)
    # On one terminal, tables have to appear above the bars, which only their own console can do.
    shared = stdout.is_terminal and stderr.is_terminal
    results = ResultsHandler(stderr if shared else stdout)
    bars = TerminalProgress(stderr) if stderr.is_terminal else LineProgress()
    with ExitStack() as stack:
        stack.enter_context(_handling("quarterturn", narration))
        stack.enter_context(_handling(RESULTS, results))
        stack.enter_context(reporting(bars))
        yield


@contextmanager
def _handling(name: str, handler: logging.Handler) -> Iterator[None]:
    """Let a handler have a logger's messages from INFO on."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _console(*, stderr: bool) -> Console:
    """A console; where it is no terminal, lines are long."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=WIDTH)
