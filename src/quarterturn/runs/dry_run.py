"""What a training would take, from three steps of it that are thrown away: ``--dry-run``."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

from quarterturn.methods.configuration import Config
from quarterturn.methods.memory import checkpoint_bytes, gigabytes
from quarterturn.progress import duration
from quarterturn.runs.life_cycle import M, TrainingFiles, TrainingJob, log_memory
from quarterturn.runs.time_budget import measure_cost
from quarterturn.wording import counted

logger = logging.getLogger(__name__)

WARM_UP_STEPS, TIMED_STEPS = 1, 3
NUM_CHECKPOINTS = 2
"""The last one and the one before."""


def rehearse(job: TrainingJob[M], path: Path, *, trainings: int = 1, kind: str = "seeds") -> None:
    """Log the memory, time and room on the disk that a training takes; nothing is written.

    Args:
        job: The training.
        path: Where its run would be.
        trainings: How many there are, which take as long each.
        kind: What they are one of, in words.
    """
    config, num_images = job.config, len(job.images)
    if job.estimates_memory:
        log_memory(replace(job, files=TrainingFiles()))
    cost = measure_cost(job, warm_up=WARM_UP_STEPS, timed=TIMED_STEPS, introduces=True)
    if not job.estimates_memory and (used := job.runtime.used_memory()) is not None:
        logger.info(f"memory in use after these steps: {gigabytes(used)}")
    epochs = config.run.epochs
    cost = replace(cost, every=job.evaluate_every)
    every_s = cost.training_s(epochs)
    if config.method.counts_iterations:
        logger.info(
            f"{TIMED_STEPS} steps took {cost.a_step} each, so {epochs * cost.steps_per_epoch:,} "
            f"iterations of {config.run.batch_size:,} images take "
            f"{duration(epochs * cost.epoch_s)}; {duration(every_s)} with the test and the page"
        )
    else:
        logger.info(
            f"{cost.in_words(TIMED_STEPS, num_images)}; {counted(epochs, 'epoch')} "
            f"{duration(every_s)} with evaluations and the "
            "page"
        )
    if trainings > 1:
        logger.info(
            f"{trainings} {kind}, one after the other: {duration(trainings * every_s)} in all"
        )
    log_checkpoints(config, num_images, path, trainings=trainings)


def log_checkpoints(config: Config, num_images: int, path: Path, *, trainings: int = 1) -> None:
    """Log the room that checkpoints take, as the last lines of a dry run.

    Args:
        config: Of the training.
        num_images: That it learns from.
        path: Where its run would be.
        trainings: How many there are.
    """
    number = NUM_CHECKPOINTS if config.run.epochs else 1
    room = trainings * number * checkpoint_bytes(config, num_images)
    log_room("checkpoints take", room, path)


def log_room(what: str, room: int, path: Path) -> None:
    """Log the room that a run takes on the disk, as the last lines of a dry run.

    Args:
        what: Takes it, in words that end with a verb.
        room: Bytes.
        path: Where the run would be.
    """
    free = shutil.disk_usage(_existing(path)).free
    logger.info(f"{what} {gigabytes(room)} on the disk of {path}, where {gigabytes(free)} are free")
    if room > free:
        logger.warning("that is more than is free: give --out RUN on another disk")
    logger.info("dry run: nothing was written")


def _existing(path: Path) -> Path:
    """The folder that is there already, in which a path would be made."""
    path = path.absolute()
    return path if path.exists() else _existing(path.parent)
