"""How a training begins, or goes on: batches that fit, and what it runs on."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from quarterturn.config import Config
from quarterturn.data.imageset import ImageSet
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError
from quarterturn.methods.memory import memory_words
from quarterturn.runs import Run

logger = logging.getLogger(__name__)


def fit_batch_size(config: Config, num_images: int, runtime: Runtime) -> Config:
    """Shrink a batch that is larger than the data, saying so.

    Raises:
        ConfigError: The processes and parts that share a batch are too many.
    """
    if config.run.batch_size > num_images:
        logger.info(
            f"batch size {config.run.batch_size} is larger than the data: using {num_images}, "
            "all images in one batch"
        )
        config = config.with_settings(batch_size=num_images)
    if config.run.batch_size < 2 * runtime.world_size * config.run.accumulate:
        raise ConfigError(
            f"--batch-size {config.run.batch_size} over {runtime.world_size} processes and "
            f"--accumulate {config.run.accumulate}: each part needs at least 2 images"
        )
    return config


def runtime_of(run: Run) -> Runtime:
    """What an interrupted run goes on with: its device, in the precision it began with.

    Raises:
        ConfigError: It began with another number of processes.
    """
    stored, machine = run.read_json("environment.json"), run.config.machine
    precision = stored.get("precision", run.config.run.precision)
    runtime = Runtime(machine.device, precision, compile=machine.compile)
    if (before := stored.get("processes", runtime.world_size)) != runtime.world_size:
        raise ConfigError(
            f"the run began with {before} processes and cannot go on with {runtime.world_size}: "
            "batch norm would see other batches"
        )
    return runtime


def warn_unfinished(run: Run) -> None:
    """Warn about a run whose weights are used before its last epoch."""
    done, epochs = run.epochs_done(), run.config.run.epochs
    if done < epochs and run.imported is None:
        logger.warning(f"{run.path} has done {done:.3g} of its {epochs:,} epochs so far")


def tell_memory(run: Run, images: ImageSet, runtime: Runtime) -> None:
    """Say what a step will need of the memory, before the first one."""
    if not run.config.run.epochs or run.checkpoint.exists():
        return
    words, advice = memory_words(
        run.config,
        images,
        precision=runtime.precision,
        device=runtime.device,
        processes=runtime.world_size,
        free=runtime.free_memory(),
    )
    logger.info(words)
    if advice:
        logger.warning(advice)


def wants_tensorboard(config: Config, runtime: Runtime) -> bool:
    """Whether this process is to write TensorBoard's files.

    Raises:
        ConfigError: The extra is not installed.
    """
    if not (config.machine.tensorboard and runtime.is_main):
        return False
    if find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs an extra: pip install 'quarterturn[tensorboard]'")
    return True
