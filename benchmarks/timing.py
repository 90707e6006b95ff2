"""How the benchmarks take the time."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from quarterturn.engine.runtime import Runtime


def seconds(step: Callable[[], object], runtime: Runtime) -> float:
    """The time of one call, until the device has finished it."""
    _wait(runtime)
    start = time.perf_counter()
    step()
    _wait(runtime)
    return time.perf_counter() - start


def _wait(runtime: Runtime) -> None:
    if runtime.device.type == "cuda":
        torch.cuda.synchronize(runtime.device)
