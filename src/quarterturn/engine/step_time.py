"""How long a step of a training takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count, islice

import torch

from quarterturn.data.batches import Batch
from quarterturn.engine.loop import L, Training, training_step
from quarterturn.engine.runtime import Runtime

WARM_UP_STEPS = 3
"""Steps before the clock starts: the first ones wait for workers, memory and kernels."""
TIMED_STEPS = 20


def time_steps(
    training: Training[L], *, warm_up: int = WARM_UP_STEPS, timed: int = TIMED_STEPS
) -> float:
    """The mean time of a step in seconds, by default over twenty steps after a few that warm up.

    The training is changed by these steps: give one that is thrown away. Every process takes them,
    and the first one's time counts for all.

    Args:
        training: What is trained.
        warm_up: Steps before the clock starts.
        timed: Steps that are timed.
    """
    t, runtime = training, training.runtime
    network = runtime.wrap(t.method.network)
    network.train()
    t.method.before_epoch(0, len(t.phase_at(0)))
    start_s = time.perf_counter()
    for number, batch in enumerate(islice(_batches(t), warm_up + timed)):
        counts = runtime.gather_counts(len(batch))
        if min(counts) >= 2:  # as in training: batch norm needs two images
            training_step(t, network, batch, min(t.accumulate, min(counts) // 2))
        t.step += 1
        if number + 1 == warm_up:
            _wait(runtime)
            start_s = time.perf_counter()
    _wait(runtime)
    elapsed_s = time.perf_counter() - start_s
    return float(runtime.gather_objects(elapsed_s / timed)[0])


def _batches(training: Training[L]) -> Iterator[Batch]:
    """Epoch after epoch: small collections have fewer steps than are timed."""
    for epoch in count():
        yield from training.batches.epoch(epoch)


def _wait(runtime: Runtime) -> None:
    """Until the device has done what it was given."""
    if runtime.device.type != "cpu":
        torch.accelerator.synchronize(runtime.device)
