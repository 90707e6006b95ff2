"""What a pretraining on a collection costs on this machine: time, memory, room on the disk."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.selection import Selection, select_from
from quarterturn.data.sources import MIN_IMAGES
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.step_time import time_steps
from quarterturn.inspecting.inspection import Inspection
from quarterturn.methods.configuration import Config
from quarterturn.methods.memory import checkpoint_bytes, estimate_memory
from quarterturn.pretraining.cached_images import side_needed
from quarterturn.pretraining.training import Pretraining
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.dry_run import NUM_CHECKPOINTS
from quarterturn.runs.life_cycle import prepare
from quarterturn.runs.start import fit_batch_size
from quarterturn.runs.time_budget import Cost

WARM_UP_STEPS, TIMED_STEPS = 1, 2
BATCH_ON_PROCESSOR = 8
"""Images of a timed step on a processor, of which a whole batch takes as many times as long as it
is larger. A training that chooses its epochs by a time times twenty whole steps."""


@dataclass(frozen=True)
class TrainingCost:
    """What a pretraining by a recipe costs here.

    Attributes:
        config: The recipe, with the batch that it comes to.
        device: What it was timed on.
        time: Of its steps; None where they were not timed.
        memory_bytes: What a step takes on the device; None where that is not known.
        free_bytes: What is free there; None where that is not known.
        run_bytes: What the run's checkpoints take on the disk.
        free_disk_bytes: What is free in the working folder.
        cache_bytes: What a cache of all images would take; None where they are in memory, or come
            from a cache.
        image_s: Seconds in which one process reads an image.
    """

    config: Config
    device: str
    time: Cost | None
    memory_bytes: int | None
    free_bytes: int | None
    run_bytes: int
    free_disk_bytes: int
    cache_bytes: int | None
    image_s: float

    @property
    def epochs(self) -> int:
        """Epochs of the recipe."""
        return self.config.run.epochs

    @property
    def whole_s(self) -> float | None:
        """Seconds of all epochs, with evaluations and the page."""
        return None if self.time is None else self.time.training_s(self.epochs)

    @property
    def reading_share(self) -> float:
        """Processor time of reading the images of a batch, as a share of the step's own time."""
        if self.time is None or self.cache_bytes is None:
            return 0.0
        return self.image_s * self.config.run.batch_size / self.time.step_s


def training_cost(
    found: Inspection, config: Config, *, device: str = "auto", timed: bool = True
) -> TrainingCost | None:
    """Estimate what a pretraining takes, of time by a few of its steps.

    Args:
        found: The images.
        config: The recipe.
        device: Where it would be trained.
        timed: Whether to take the steps.

    Returns:
        The cost; None where there are too few images to train on.
    """
    if found.split_names[:1] != ["train"] or int((found.splits == 0).sum()) < MIN_IMAGES:
        return None
    runtime = Runtime(device, config.run.precision, single=True)
    free = runtime.free_memory()
    every_file = config.with_settings(max_bad_fraction=1.0)
    images = select_from(found.source, every_file.data)
    config = fit_batch_size(every_file, len(images.train), runtime)
    return TrainingCost(
        config,
        str(runtime.device),
        _timed(config, images, runtime) if timed else None,
        _memory(config, images.train, runtime),
        free,
        NUM_CHECKPOINTS * checkpoint_bytes(config, len(images.train)),
        shutil.disk_usage(Path.cwd()).free,
        _cache_bytes(found, config),
        found.image_s,
    )


def _timed(config: Config, images: Selection, runtime: Runtime) -> Cost:
    """Take a few steps of the training and throw it away."""
    small = config
    if runtime.device.type == "cpu":
        small = config.with_settings(batch_size=min(BATCH_ON_PROCESSOR, config.run.batch_size))
    job = Pretraining(
        config=small,
        images=images.train,
        runtime=runtime,
        source=None,
        name="timing",
        run=Run(Path(), None, small, None),
        selection=images,
        p_upright=None,
    )
    with stage("timing", weight=0):
        step_s = time_steps(prepare(job), warm_up=WARM_UP_STEPS, timed=TIMED_STEPS)
    step_s *= config.run.batch_size / small.run.batch_size
    return Cost(step_s, math.ceil(len(images.train) / config.run.batch_size))


def _memory(config: Config, images: ImageSet, runtime: Runtime) -> int | None:
    try:
        estimate = estimate_memory(
            config, images, precision=runtime.precision, device=runtime.device
        )
    except Exception:  # torch may not know how to run some network without values
        return None
    return estimate.total


def _cache_bytes(found: Inspection, config: Config) -> int | None:
    """Bytes of raw pixels of all images, as ``pretrain --cache auto`` keeps them."""
    if found.source.cache is not None or not isinstance(found.source.train, FileImages):
        return None
    scale = np.minimum(1.0, side_needed(config.data) / found.sizes.min(axis=1))
    return int(3 * (found.sizes.prod(axis=1) * scale**2).sum())
