"""The life of a training, written once: prepare, fit, conclude.

Every command that trains derives a job from `TrainingJob`, which says what is trained, how it is
evaluated on the way and what is written at the end, and gives it to `train`.

N images; see the jobs for the shapes of theirs.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from quarterturn.data.batches import TrainingBatches
from quarterturn.data.imageset import ImageSet
from quarterturn.data.small_images import smaller_than_crop, warn_small
from quarterturn.data.source import Source
from quarterturn.data.unreadable import warn_changed
from quarterturn.data.view_batches import ViewBatches
from quarterturn.engine.learner import Batches
from quarterturn.engine.loop import Training, fit
from quarterturn.engine.metric_loggers import NONE, LoggedRun
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.profile import profiled
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry
from quarterturn.methods.base import Method
from quarterturn.methods.configuration import Config
from quarterturn.methods.memory import memory_words
from quarterturn.progress import stage
from quarterturn.runs.batch_statistics import statistics_words, synchronise
from quarterturn.runs.bound_settings import settings_record
from quarterturn.runs.restoring import restore
from quarterturn.runs.run import Run

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Method)

REHEARSED_IMAGES = 192
"""Images on which a dry run times an evaluation."""


@dataclass(frozen=True)
class TrainingFiles:
    """Where a training keeps its state and its log; None for what is not kept.

    Attributes:
        checkpoint: The whole state; a training resumes from what is there.
        metrics: Losses and evaluations, one JSON object a line.
        previous: The checkpoint before the last.
        logged: Where the log goes beside its file.
    """

    checkpoint: Path | None = None
    metrics: Path | None = None
    previous: Path | None = None
    logged: LoggedRun | None = None

    @classmethod
    def of_run(cls, run: Run) -> TrainingFiles:
        """Those of a run directory."""
        name = run.config.machine.logger
        return cls(
            run.checkpoint,
            run.metrics_file,
            run.previous_checkpoint,
            None if name == NONE else LoggedRun(name, run.path, run.config.to_dict()),
        )


@dataclass(frozen=True, kw_only=True)
class TrainingJob(ABC, Generic[M]):
    """One training: what is trained, how it is evaluated, and what is written at the end.

    `train` calls the methods in the order in which they stand here. Those that write or log are
    called in the main process only.

    Attributes:
        config: All settings; the batch size fits the images.
        images: The N images to learn from.
        runtime: Device, precision, processes.
        source: Where the images are from; checks how many of its files fail. None for none.
        files: Where state and log are kept.
        name: Name of the training, beside the progress bar.
        weight: Steps of the stage of progress around it that the training makes up.
        unreadable: Files that could not be decoded so far, with the reason.
        estimates_memory: Whether the memory of a step is estimated before training.
        shorter: Flags that would shorten the training, in the words of its command.
    """

    config: Config
    images: ImageSet
    runtime: Runtime
    source: Source | None = None
    files: TrainingFiles = TrainingFiles()
    name: str = "training"
    weight: float = 1
    unreadable: dict[str, str] = field(default_factory=dict)

    estimates_memory: ClassVar[bool] = False
    shorter: ClassVar[str] = "--epochs, --limit, --image-size or --backbone convnet"

    @abstractmethod
    def build_method(self) -> M:
        """The network and its losses, as they are at the start of a training."""

    def build_batches(self, method: M) -> Batches:
        """The batches of any epoch; by default random crops of the images, or views of them."""
        config, runtime = self.config, self.runtime
        shared: dict[str, Any] = {
            "batch_size": config.run.batch_size,
            "seed": config.run.seed,
            "device": runtime.device,
            "workers": config.machine.num_workers,
            "epochs": config.run.epochs,
            "rank": runtime.rank,
            "world_size": runtime.world_size,
            "source": self.source,
        }
        if method.views is not None:
            return ViewBatches(self.images, config.data, law=method.views, **shared)
        return TrainingBatches(
            self.images,
            config.data,
            with_labels=method.reads_labels,
            chances=self.chances(),
            draws=self.draws(),
            is_cyclic=self.is_cyclic(),
            **shared,
        )

    def chances(self) -> Tensor | None:
        """(N,) how likely each image is drawn; None for each image once an epoch."""
        return None

    def draws(self) -> int | None:
        """Images shown in an epoch; None for each image once."""
        return None

    def is_cyclic(self) -> bool:
        """Whether the images are shuffled once, rather than in each epoch."""
        return False

    def is_concluded(self) -> bool:
        """Whether an earlier call wrote everything that `conclude` writes."""
        return False

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of a classifier, in the order of its logits."""
        return ()

    @property
    def place(self) -> str:
        """Where the training is kept, in words."""
        return self.name

    def introduce(self, training: Training[M]) -> None:
        """Log what is about to be trained."""

    @property
    def evaluate_every(self) -> int:
        """Epochs between evaluations; the last epoch is always evaluated."""
        return self.config.run.diagnostics_every or max(1, self.config.run.epochs // 10)

    def evaluate(self, training: Training[M], epochs_done: int) -> None:
        """Measure the network after an epoch; changes no state of the training."""

    def rehearse_evaluation(self, training: Training[M]) -> float:
        """Compute what `evaluate` does, or a part of it, and keep nothing of it.

        Returns:
            How many times as long the whole takes.
        """
        return 1.0

    @property
    def probe_every(self) -> int | None:
        """Epochs between quick probes; None for none."""
        return None

    def probe(self, training: Training[M], epochs_done: int) -> None:
        """Measure the network on labelled images; changes no state of the training."""

    def has_to_stop(self) -> bool:
        """Whether the evaluations so far end the training before its last epoch."""
        return False

    def conclude(self, training: Training[M]) -> None:
        """Write what is kept of a finished training beside its checkpoint."""


def train(job: TrainingJob[M]) -> Training[M]:
    """Train from the last checkpoint, or from the start without one, to the end.

    Returns:
        The finished training. One that was concluded before is left as it is.
    """
    if job.estimates_memory:
        log_memory(job)
    training = prepare(job)
    if training.is_finished and job.is_concluded():
        logger.info(f"{job.place} is finished: nothing to do")
        return training
    runtime = job.runtime
    if runtime.is_main:
        job.introduce(training)
        network, processes = training.method.network, runtime.world_size
        if words := statistics_words(network, job.config, processes):
            logger.info(words)
        if training.step:
            logger.info(f"resuming after step {training.step:,}")

    def after_epoch(epochs_done: int) -> bool:
        def is_due(every: int | None) -> bool:
            is_last = epochs_done in (*job.config.optimizer.restarts, training.epochs)
            return every is not None and (epochs_done % every == 0 or is_last)

        if runtime.is_main and is_due(job.evaluate_every):
            with stage("evaluation", weight=0):  # its time is within that of the epochs
                job.evaluate(training, epochs_done)
        if runtime.is_main and is_due(job.probe_every):
            with stage("quick probe", weight=0):
                job.probe(training, epochs_done)
        return stops()

    def stops() -> bool:
        """The main process decides for all."""
        return bool(runtime.gather_objects(runtime.is_main and job.has_to_stop())[0])

    training.after_epoch = after_epoch
    with training.telemetry:  # cuts the log back to the checkpoint, which `stops` then reads
        if not stops():
            with _profiled(job, training):
                fit(training)
    changed = runtime.gather_objects(set(training.batches.changed))
    small = runtime.gather_objects(smaller_than_crop(job.images, job.config.data))
    if runtime.is_main:
        warn_changed(job.images, set().union(*changed))
        warn_small(job.images, set().union(*small), job.config.data)
        names = job.images.names
        job.unreadable.update({names[i]: why for i, why in training.batches.failed.items()})
        job.conclude(training)
    runtime.barrier()
    return training


def _profiled(job: TrainingJob[M], training: Training[M]) -> AbstractContextManager[None]:
    """Measure the steps where the job asks for it, in the main process."""
    metrics = job.files.metrics
    if not job.config.machine.profile or not job.runtime.is_main or metrics is None:
        return nullcontext()
    return profiled(training.method.network, job.runtime, metrics.parent)


def prepare(job: TrainingJob[M]) -> Training[M]:
    """Build everything that a training is made of, in the state of its last checkpoint."""
    config, files, is_main = job.config, job.files, job.runtime.is_main
    method = job.build_method()
    if config.run.sync_batch_norm and job.runtime.world_size > 1:
        synchronise(method.network)
    batches = job.build_batches(method)
    telemetry = Telemetry(
        files.metrics if is_main else None,
        total_steps=batches.steps_per_epoch * config.run.epochs,
        steps_per_epoch=batches.steps_per_epoch,
        log_every=config.run.log_every,
        description=job.name,
        logged=files.logged if is_main else None,
        shorter=job.shorter,
        in_iterations=config.method.counts_iterations,
    )
    training = Training(
        method,
        batches,
        build_optimizer(method.network, config.optimizer, method.network.depths()),
        config.optimizer,
        job.runtime,
        telemetry,
        config.run.epochs,
        config.run.accumulate,
        checkpoint=files.checkpoint,
        previous=files.previous,
        about=settings_record(config, job.class_names),
        checkpoint_every=config.run.checkpoint_every,
        name=job.name,
        weight=job.weight,
    )
    if files.checkpoint is not None and files.checkpoint.exists():
        restore(training, files.checkpoint, config, job.class_names)
    return training


def log_memory(job: TrainingJob[M]) -> None:
    """Estimate peak memory before a training starts, while its memory is still free."""
    checkpoint = job.files.checkpoint
    if not job.config.run.epochs or (checkpoint is not None and checkpoint.exists()):
        return
    words, advice = memory_words(
        job.config,
        job.images,
        precision=job.runtime.precision,
        device=job.runtime.device,
        processes=job.runtime.world_size,
        free=job.runtime.free_memory(),
        used=job.runtime.used_memory(),
    )
    logger.info(words)
    if advice:
        logger.warning(advice)
