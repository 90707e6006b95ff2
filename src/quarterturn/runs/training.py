"""From a configuration to its images, and to a training that is ready to go, or to go on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from quarterturn.config import Config
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.feature_batches import FeatureBatches
from quarterturn.data.imageset import ImageSet
from quarterturn.data.selection import Selection, select_images
from quarterturn.data.sources import Source
from quarterturn.engine.checkpoint import load_checkpoint
from quarterturn.engine.loop import Training
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry
from quarterturn.methods.base import Method
from quarterturn.methods.registry import build_method


def select_for_all(
    data: str,
    config: Config,
    runtime: Runtime,
    *,
    index: Path | None = None,
) -> Selection:
    """The run's images; where they are to be downloaded, the first process does it for all.

    Args:
        data: DATA as the user wrote it.
        config: All settings.
        runtime: Which process this is.
        index: Where the run keeps the headers of image files; None before it has a directory.
    """
    download = config.machine.download
    with runtime.main_first(download):
        return select_images(
            data,
            config.data,
            index=index,
            download=download and runtime.is_main,
        )


def prepare_training(
    config: Config,
    images: ImageSet,
    runtime: Runtime,
    *,
    method: Method | None = None,
    p_upright: Tensor | None = None,
    agnostic: Tensor | None = None,
    chances: Tensor | None = None,
    batches: TrainingBatches | FeatureBatches | None = None,
    source: Source | None = None,
    checkpoint: Path | None = None,
    metrics: Path | None = None,
    tensorboard: Path | None = None,
    description: str = "",
    shorter: str = "--epochs, --limit, --image-size or --backbone convnet",
) -> Training:
    """Everything that a training is made of, as a configuration says.

    Args:
        config: All settings.
        images: The images to learn from.
        runtime: Device, precision, processes.
        method: What is learned; by default what the configuration says.
        p_upright: (N, 4) for the noise-aware phase of that method.
        agnostic: (N,) scores for that method, where it balances images without an "up".
        chances: (N,) how likely each image is to be drawn; see `TrainingBatches`.
        batches: In place of batches of the images.
        source: Where the images are from; see `TrainingBatches`.
        checkpoint: Where to keep the state. The training goes on from what is there.
        metrics: Where figures go; as ``checkpoint``, the first process alone writes it.
        tensorboard: Folder for TensorBoard's files.
        description: Beside the progress bar; the method's name by default.
        shorter: What would make it shorter, in the words of its command.
    """
    if method is None:
        labels = None
        if config.imbalance.reads_labels and images.labels is not None:
            labels = torch.from_numpy(images.labels)
        method = build_method(
            config,
            len(images),
            p_upright=p_upright,
            agnostic=agnostic,
            labels=labels,
            device=runtime.device,
            mean_over_processes=runtime.mean,
        )
    if batches is None:
        batches = TrainingBatches(
            images,
            config.data,
            batch_size=config.run.batch_size,
            seed=config.run.seed,
            device=runtime.device,
            workers=config.machine.workers,
            rank=runtime.rank,
            world_size=runtime.world_size,
            with_labels=method.reads_labels,
            chances=chances,
            draws=config.heads.images_per_epoch,
            source=source,
        )
    telemetry = Telemetry(
        metrics if runtime.is_main else None,
        total_steps=batches.steps_per_epoch * config.run.epochs,
        steps_per_epoch=batches.steps_per_epoch,
        log_every=config.run.log_every,
        description=description or config.method.method,
        tensorboard=tensorboard,
        shorter=shorter,
    )
    training = Training(
        method,
        batches,
        build_optimizer(method.network, config.optimizer),
        config.optimizer,
        runtime,
        telemetry,
        config.run.epochs,
        config.run.accumulate,
        checkpoint=checkpoint,
        checkpoint_every=config.run.checkpoint_every,
        name=description or config.method.method,
    )
    if checkpoint is not None and checkpoint.exists():
        training.load_state_dict(load_checkpoint(checkpoint))
    return training
