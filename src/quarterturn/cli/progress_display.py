"""How progress is shown: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from quarterturn.progress import ProgressReporter, Stage, duration

logger = logging.getLogger(__name__)

LINE_EVERY_S = 30.0
"""Seconds between two lines where the output is no terminal."""

REDRAW_EVERY_S = 0.1
"""Seconds between two positions of the bars."""


class TerminalProgress(ProgressReporter):
    """Draws a bar for each open stage, below what the console prints meanwhile.

    Args:
        console: A terminal.
        clock: As for `ProgressReporter`.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self.console = console
        self._bars: Progress | None = None
        self._drawn_s = 0.0
        self._bar_of: dict[int, TaskID] = {}

    def opened(self, stage: Stage) -> None:
        """Add a bar; the outermost stage starts the display."""
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[position]}", markup=False, justify="right"),
                TextColumn("{task.fields[note]}", markup=False),
                TextColumn("{task.fields[left]}", markup=False, style="progress.remaining"),
                console=self.console,
                transient=True,
            )
            self._bars.start()
        indented = "  " * (len(self.stages) - 1) + stage.name
        total = None if stage.total is None else 1.0
        self._bar_of[id(stage)] = self._bars.add_task(
            indented, total=total, position=stage.position, note="", left=""
        )

    def changed(self, stage: Stage) -> None:
        """Move the bars; at most ten times a second, since steps may be far shorter."""
        assert self._bars is not None
        if self.clock() - self._drawn_s < REDRAW_EVERY_S:
            return
        self._drawn_s = self.clock()
        for each in self.stages:
            self._bars.update(
                self._bar_of[id(each)],
                completed=each.fraction,
                position=each.position,
                note=each.note,
                left=self.left if each is self.stages[0] else "",
            )

    def closed(self, stage: Stage, *, finished: bool) -> None:
        """Take the bar away; the outermost stage ends the display."""
        assert self._bars is not None
        self._bars.remove_task(self._bar_of.pop(id(stage)))
        if not self.stages:
            self._bars.stop()
            self._bars = None
        else:
            self.changed(stage)


class LineProgress(ProgressReporter):
    """Logs a line every half minute, and one when a stage ends that took longer than that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._last_line_s = 0.0
        self._start_of: dict[int, float] = {}

    def opened(self, stage: Stage) -> None:
        """Remember when it began; log a line if one is due."""
        self._start_of[id(stage)] = self.clock()
        if len(self.stages) == 1:
            self._last_line_s = self.clock()
        self.changed(stage)

    def changed(self, stage: Stage) -> None:
        """Log a line if one is due."""
        if self.clock() - self._last_line_s >= LINE_EVERY_S:
            self._last_line_s = self.clock()
            logger.info("%s", self._line())

    def closed(self, stage: Stage, *, finished: bool) -> None:
        """Log how long a long stage took."""
        took_s = self.clock() - self._start_of.pop(id(stage))
        if finished and took_s >= LINE_EVERY_S:
            self._last_line_s = self.clock()
            logger.info("%s: done in %s", stage.name, duration(took_s))

    def _line(self) -> str:
        """The open stages with their positions, and the time left."""
        path = ", ".join(f"{stage.name} {stage.position}".rstrip() for stage in self.stages)
        notes = [stage.note for stage in self.stages if stage.note]
        return "; ".join(part for part in (path, *notes, self.left) if part)
