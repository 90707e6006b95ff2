"""``finetune --dry-run``: what a classifier would take, trained or solved."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from quarterturn.classifying.evaluation import classify
from quarterturn.classifying.solved_classifier import is_solved
from quarterturn.classifying.training import ClassifierTraining
from quarterturn.methods.classifier import ClassifierNetwork
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.memory import checkpoint_bytes
from quarterturn.progress import duration
from quarterturn.runs.dry_run import NUM_CHECKPOINTS, log_room, rehearse
from quarterturn.runs.life_cycle import REHEARSED_IMAGES, prepare

logger = logging.getLogger(__name__)


def rehearse_classifier(job: ClassifierTraining, path: Path, *, trainings: int = 1) -> None:
    """Log what a classifier takes; nothing is written.

    Args:
        job: The training of the first seed.
        path: Where its run would be.
        trainings: How many there are, which differ in their seed.
    """
    if not is_solved(job.config):
        if job.config.method_as(ClassifierOptions).classifier_init == "solved":
            logger.info(
                "what the classifier begins as is solved first, which is not in what follows"
            )
            job = replace(job, config=job.config.with_settings(classifier_init="uniform"))
        rehearse(job, path, trainings=trainings)
        return
    network = prepare(_by_steps(job)).method.network
    assert isinstance(network, ClassifierNetwork)
    job.examples.split.source.log_summary()
    few = job.images.subset(np.arange(min(REHEARSED_IMAGES, len(job.images))))
    began_s = time.perf_counter()
    classify(
        network,
        few,
        job.config.data,
        device=job.runtime.device,
        workers=job.config.machine.num_workers,
        failed={},
    )
    image_s = (time.perf_counter() - began_s) / len(few)
    passed = len(job.images) + len(job.examples.test)
    logger.info(
        f"{job.examples.words()}\n"
        "the classifier is solved exactly, not trained (--solver steps trains it): the features of "
        f"{len(few):,} images took {1000 * image_s:.0f} ms each, so those of all {passed:,}, test "
        f"images included, take {duration(passed * image_s)}; the solution takes seconds"
        + (f"; {trainings} seeds {duration(trainings * passed * image_s)}" if trainings > 1 else "")
    )
    room = trainings * NUM_CHECKPOINTS * checkpoint_bytes(job.config, len(job.images))
    log_room("checkpoints take", room, path)


def _by_steps(job: ClassifierTraining) -> ClassifierTraining:
    """The same network, whose classifier is not solved when it is built."""
    return replace(job, config=job.config.with_settings(solver="steps", epochs=1))
