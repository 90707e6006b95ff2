"""Where the time goes: the seconds of named parts of the work, each without the parts within it.

Whoever works names the part::

    with timed("forward"):
        ...

Nothing is measured until somebody opens `measured`. Labels go to torch's profiler too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch.profiler import record_function


class Timing:
    """Seconds by part.

    Args:
        wait: Waits until the device has done what it was given, so that each part has its own time.
        after_step: Called after each step of a training.

    Attributes:
        seconds: Seconds of each part, without those of the parts within it.
        steps: Steps of the training so far.
        images: Images of these steps.
    """

    def __init__(self, wait: Callable[[], None], after_step: Callable[[], None]) -> None:
        self.seconds: dict[str, float] = {}
        self.steps = self.images = 0
        self.after_step = after_step
        self._wait = wait
        self._within: list[str] = []
        self._since = time.perf_counter()

    def begin(self, name: str) -> None:
        """Begin a part within the one that is open."""
        self._count()
        self._within.append(name)

    def end(self) -> None:
        """End the innermost part."""
        self._count()
        self._within.pop()

    def _count(self) -> None:
        self._wait()
        now = time.perf_counter()
        if self._within:
            name = self._within[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


_timing: Timing | None = None


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Do a named part of the work."""
    timing = _timing
    if timing is None:
        yield
        return
    timing.begin(name)
    try:
        with record_function(name):
            yield
    finally:
        timing.end()


def count_step(num_images: int) -> None:
    """Count a step of a training on a number of images."""
    if _timing is not None:
        _timing.steps += 1
        _timing.images += num_images
        _timing.after_step()


@contextmanager
def measured(wait: Callable[[], None], after_step: Callable[[], None]) -> Iterator[Timing]:
    """Measure the parts within; see `Timing`."""
    global _timing
    before, _timing = _timing, Timing(wait, after_step)
    try:
        yield _timing
    finally:
        _timing = before
