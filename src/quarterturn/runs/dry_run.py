"""What a training would take, from three steps of it that are thrown away: ``--dry-run``."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from quarterturn.methods.memory import checkpoint_bytes, gigabytes
from quarterturn.progress import duration
from quarterturn.runs.life_cycle import M, TrainingJob, log_memory
from quarterturn.runs.time_budget import measure_cost

logger = logging.getLogger(__name__)

WARM_UP_STEPS, TIMED_STEPS = 1, 3
NUM_CHECKPOINTS = 2
"""The last one and the one before."""


def rehearse(job: TrainingJob[M], path: Path) -> None:
    """Log the memory, time and room on the disk that a training takes; nothing is written.

    Args:
        job: The training.
        path: Where its run would be.
    """
    config, num_images = job.config, len(job.images)
    log_memory(job)
    cost = measure_cost(job, warm_up=WARM_UP_STEPS, timed=TIMED_STEPS, introduces=True)
    epochs = config.run.epochs
    room = NUM_CHECKPOINTS * checkpoint_bytes(config, num_images)
    free = shutil.disk_usage(_existing(path)).free
    logger.info(
        f"{cost.in_words(TIMED_STEPS, num_images)}; {epochs:,} "
        f"{'epoch' if epochs == 1 else 'epochs'} {duration(cost.training_s(epochs))} with "
        "evaluations and the page"
    )
    logger.info(
        f"checkpoints take {gigabytes(room)} on the disk of {path}, where {gigabytes(free)} are "
        "free"
    )
    if room > free:
        logger.warning("that is more than is free: give --out RUN on another disk")
    logger.info("dry run: nothing was written")


def _existing(path: Path) -> Path:
    """The folder that is there already, in which a path would be made."""
    path = path.absolute()
    return path if path.exists() else _existing(path.parent)
