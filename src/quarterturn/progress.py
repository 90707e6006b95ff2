"""Progress of long work: named stages that nest, and the time until the outermost one ends.

Whoever works opens a stage and advances it::

    with stage("features", total=1956) as bar:
        for batch in batches:
            bar.advance(len(batch))

Stages opened within are parts of it: a whole training is one step of the stage around it, so that
the time left covers all folds and stages to come. Nothing is shown until somebody, such as the
command line, installs a reporter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STEPS_BEFORE_ESTIMATE = 3
"""Steps of work after which the time left is shown; before, a guess would jump about."""


class Stage:
    """A named piece of work, some of whose steps are done.

    Stages are opened by `stage`.

    Args:
        name: What is being done, in a word or two.
        total: Steps of it; None where nobody knows.
        weight: Steps of the stage around it that this one makes up.
        progress: Whom to tell; None for nobody.

    Attributes:
        done: Steps done; an ended inner stage counts by its weight.
        note: A few words on how it goes, such as ``loss 0.31``.
        inner: The stages within it that are running.
        divided: Whether it is counted by inner stages, whose weights mean nothing to a reader.
    """

    def __init__(
        self, name: str, total: float | None, weight: float, progress: ProgressReporter | None
    ) -> None:
        self.name, self.total, self.weight = name, total, weight
        self.done, self.note = 0.0, ""
        self.inner: list[Stage] = []
        self.divided = False
        self._progress = progress

    @property
    def fraction(self) -> float:
        """Share of the steps done, from 0 to 1; running inner stages count by their own share."""
        if not self.total:
            return 0.0
        running = sum(stage.weight * stage.fraction for stage in self.inner)
        return min(1.0, (self.done + running) / self.total)

    @property
    def position(self) -> str:
        """Where it stands, in words: ``800/1,956``, or ``41 %`` of a stage with stages within."""
        if self.divided:
            return f"{100 * self.fraction:.0f} %" if self.total else ""
        if self.total is None:
            return f"{self.done:,.0f}" if self.done else ""
        return f"{self.done:,.0f}/{self.total:,.0f}"

    def advance(self, steps: float = 1, note: str | None = None) -> None:
        """Count finished steps.

        Args:
            steps: How many; 0 changes only the note.
            note: A few words on how it goes; None leaves the former ones.
        """
        self._count(steps, note, worked=True)

    def skip(self, steps: float = 1) -> None:
        """Count steps that an earlier run finished: they say nothing about today's speed."""
        self._count(steps, None, worked=False)

    def _count(self, steps: float, note: str | None, *, worked: bool) -> None:
        if self._progress is None:
            return
        progress = self._progress
        with progress.lock:
            before = 0.0 if worked else progress.fraction
            self.done += steps
            self.note = self.note if note is None else note
            if worked:
                progress.steps += steps > 0
            else:
                progress.skipped += progress.fraction - before
            progress.changed(self)


class ProgressReporter:
    """Follows the open stages of a process, and estimates when the outermost one ends.

    A reporter hears of every change and shows it as it likes; see its subclasses.

    Args:
        clock: Seconds that only grow.

    Attributes:
        lock: Held during every change, so that threads may advance stages.
        stages: The open ones, the outermost first.
        steps: Reports of finished work since the outermost stage was opened.
        skipped: Fraction of the outermost stage that an earlier run had done.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self.stages: list[Stage] = []
        self.steps = 0
        self.skipped = 0.0
        self._start_s = 0.0

    @property
    def fraction(self) -> float:
        """Share of the outermost stage that is done; 0 where none is open."""
        return self.stages[0].fraction if self.stages else 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the outermost stage was opened."""
        return self.clock() - self._start_s

    @property
    def left_s(self) -> float | None:
        """Seconds until the outermost stage ends, at the speed so far; None while unknown."""
        worked = self.fraction - self.skipped
        if self.steps < STEPS_BEFORE_ESTIMATE or worked <= 0:
            return None
        return self.elapsed_s * (1 - self.fraction) / worked

    @property
    def left(self) -> str:
        """The time left in words: ``12 min left``; empty while unknown."""
        return "" if self.left_s is None else f"{duration(self.left_s)} left"

    @contextmanager
    def stage(self, name: str, total: float | None, weight: float) -> Iterator[Stage]:
        """Follow a stage from its first step to its last; see `stage`."""
        stage = Stage(name, total, weight, self)
        with self.lock:
            around = self.stages[-1] if self.stages else None
            if around is None:
                self.steps, self.skipped, self._start_s = 0, 0.0, self.clock()
            else:
                around.inner.append(stage)
                around.divided = around.divided or weight > 0
            self.stages.append(stage)
            self.opened(stage)
        finished = False
        try:
            yield stage
            finished = True
        finally:
            with self.lock:
                self.stages.remove(stage)
                self.steps += finished
                if around is not None:
                    around.inner.remove(stage)
                    around.done += weight if finished else 0
                self.closed(stage, finished=finished)

    def opened(self, stage: Stage) -> None:
        """A stage has begun."""

    def changed(self, stage: Stage) -> None:
        """A stage has advanced."""

    def closed(self, stage: Stage, *, finished: bool) -> None:
        """A stage has ended, ``finished`` or by an error."""


_reporter: ProgressReporter | None = None


@contextmanager
def reporting(reporter: ProgressReporter) -> Iterator[None]:
    """Show the progress of everything within by a reporter."""
    global _reporter
    before, _reporter = _reporter, reporter
    try:
        yield
    finally:
        _reporter = before


@contextmanager
def stage(name: str, total: float | None = None, *, weight: float = 1) -> Iterator[Stage]:
    """Open a stage of the work, within the innermost one that is open.

    When it ends without an error it counts as ``weight`` steps of the stage around it. So a stage
    is counted by its own steps or by the stages within it, whichever is handier::

        with stage("upright", total=5):
            for fold in folds:
                with stage(f"fold {fold}", total=epochs * steps_per_epoch) as bar:
                    ...

    Args:
        name: What is being done, in a word or two, such as ``features``.
        total: Steps of it; None where nobody knows, which leaves the time left unknown too.
        weight: Steps of the stage around it that this one makes up: its share of the time; 0
            where its time is within the other's own steps, as that of a test after each epoch.

    Yields:
        The stage, to `Stage.advance`.
    """
    if _reporter is None:
        yield Stage(name, total, weight, None)
        return
    with _reporter.stage(name, total, weight) as opened:
        yield opened


def skip(name: str, weight: float) -> None:
    """Count a stage that has nothing to do, without taking it for speed; as for `stage`."""
    with stage(name, total=weight, weight=weight) as nothing:
        nothing.skip(weight)


def duration(seconds: float) -> str:
    """Seconds as people say them: ``42 s``, ``7 min``, ``3.5 h``, ``12 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"
