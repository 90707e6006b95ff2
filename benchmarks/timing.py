"""How the benchmarks take the time, and write it down."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from quarterturn.engine.runtime import Runtime


def seconds(step: Callable[[], object], runtime: Runtime) -> float:
    """The time of one call, until the device has finished it."""
    _wait(runtime)
    start = time.perf_counter()
    step()
    _wait(runtime)
    return time.perf_counter() - start


def over_rounds(values: Sequence[float]) -> dict[str, float]:
    """Median and range of a figure, for JSON."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def _wait(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)
