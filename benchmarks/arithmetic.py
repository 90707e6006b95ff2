"""Floating-point operations of a step, and how many a device does a second in matrix products.

The share of the two says how much of the device a step uses. The rate is measured in the same run,
in the step's own precision: no figure of a brochure, which no program reaches.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from quarterturn.engine.runtime import Runtime
from timing import seconds

SIDES = {"cuda": 8192, "cpu": 1024}
"""Of the matrices: large enough that a product is limited by arithmetic, not by memory."""
ROUNDS = 10


def flops_of(step: Callable[[], object]) -> int:
    """Operations of convolutions and matrix products in one call, two for each multiply-add.

    Args:
        step: Forward and backward pass; not compiled, since torch counts calls of its operators.
    """
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def matmul_rate(runtime: Runtime) -> float:
    """Operations a second of a product of two square matrices, the best of several rounds."""
    side = SIDES.get(runtime.device.type, SIDES["cpu"])
    kind = torch.bfloat16 if runtime.precision == "bf16-mixed" else torch.float32
    one, other = (torch.randn(side, side, device=runtime.device, dtype=kind) for _ in range(2))
    times = [seconds(lambda: one @ other, runtime) for _ in range(ROUNDS + 2)][2:]
    return float(2 * side**3 / min(times))
