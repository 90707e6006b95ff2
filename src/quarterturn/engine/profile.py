"""The profile of a training: the share of each part of its steps, and a trace for Chrome."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, schedule

from quarterturn.engine.runtime import Runtime
from quarterturn.files import write_json
from quarterturn.timing import Timing, measured, timed

logger = logging.getLogger(__name__)

WAIT, WARM_UP, TRACED = 3, 2, 10
"""Steps before the trace, steps whose trace is thrown away, and steps that are traced."""
PROFILE, TRACE = "profile.json", "profile-trace.json"
PARTS = (
    *("wait for data", "augment", "forward", "losses", "backward", "optimizer", "bank"),
    *("checkpoint", "evaluation"),
)
BARE = ("forward", "backward")
"""Parts that training the backbone by itself would take too."""


@contextmanager
def profiled(network: nn.Module, runtime: Runtime, folder: Path) -> Iterator[None]:
    """Measure the parts of the steps within; write ``profile.json`` and a trace of some steps.

    Args:
        network: Its calls are the part ``forward``.
        runtime: Its device is waited for at the ends of parts.
        folder: Where the files go; the trace is made only if there are enough steps.
    """
    activities = [ProfilerActivity.CPU]
    if runtime.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    open_parts: list[Any] = []

    def begin(*_: object) -> None:
        open_parts.append(timed("forward"))
        open_parts[-1].__enter__()

    def end(*_: object) -> None:
        open_parts.pop().__exit__(None, None, None)

    hooks = [
        network.register_forward_pre_hook(begin),
        network.register_forward_hook(end, always_call=True),
    ]
    tracer = profile(
        activities=activities,
        schedule=schedule(wait=WAIT, warmup=WARM_UP, active=TRACED, repeat=1),
        on_trace_ready=lambda done: done.export_chrome_trace(str(folder / TRACE)),
    )
    start_s = time.perf_counter()
    try:
        with measured(_waiter(runtime), tracer.step) as timing, tracer:
            yield
    finally:
        for hook in hooks:
            hook.remove()
    found = summary(timing, time.perf_counter() - start_s)
    write_json(folder / PROFILE, found)
    logger.info("\n".join(_lines(found)))


def summary(timing: Timing, elapsed_s: float) -> dict[str, Any]:
    """Plain values: seconds and share of each part, ``other`` among them."""
    seconds = {name: timing.seconds.get(name, 0.0) for name in PARTS}
    seconds["other"] = max(0.0, elapsed_s - sum(seconds.values()))
    bare = sum(seconds[name] for name in BARE)
    return {
        "steps": timing.steps,
        "elapsed_s": elapsed_s,
        "images_per_s": timing.images / elapsed_s,
        "share_of_forward_and_backward": bare / elapsed_s,
        "parts": {
            name: {"seconds": spent, "share": spent / elapsed_s} for name, spent in seconds.items()
        },
    }


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [
        f"profile of {found['steps']:,} steps in {found['elapsed_s']:,.1f} s, "
        f"{found['images_per_s']:,.0f} images/s; forward and backward are "
        f"{found['share_of_forward_and_backward']:.0%} of it:"
    ]
    for name, part_of in found["parts"].items():
        lines.append(f"  {name:<14} {part_of['seconds']:9.2f} s  {part_of['share']:6.1%}")
    return lines


def _waiter(runtime: Runtime) -> Callable[[], None]:
    if runtime.device.type != "cuda":
        return lambda: None
    return lambda: torch.cuda.synchronize(runtime.device)
