"""How a command starts a run, or resumes one: its images, batch size, directory and runtime."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import get_args

from quarterturn.config.training import Precision
from quarterturn.data.selection import Selection, select_images
from quarterturn.data.source import Source
from quarterturn.engine.metric_loggers import require_logger
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import CheckpointError, ConfigError, QuarterturnError
from quarterturn.files import write_json
from quarterturn.methods.configuration import Config
from quarterturn.runs.batch_statistics import check_device
from quarterturn.runs.closing import command
from quarterturn.runs.environment import environment
from quarterturn.runs.failures import failures_explained, is_stop, stops_noted
from quarterturn.runs.lock import locked
from quarterturn.runs.run import Run
from quarterturn.wording import counted

logger = logging.getLogger(__name__)


def select_for_all(
    data: str, config: Config, runtime: Runtime, *, index: Path | None = None
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
        return select_images(data, config.data, index=index, download=download and runtime.is_main)


def new_runtime(config: Config) -> Runtime:
    """The runtime that a run begins with.

    Raises:
        ConfigError: The device, what it is to do, or the logger is not possible here.
    """
    require_logger(config.machine.logger)
    runtime = Runtime(config.machine.device, config.run.precision, compile=config.machine.compile)
    check_device(config, runtime)
    return runtime


def fit_batch_size(config: Config, num_images: int, runtime: Runtime) -> Config:
    """Shrink a batch that is larger than the data, and say so.

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


@contextmanager
def starting(
    runs: Sequence[Run],
    runtime: Runtime,
    source: Source,
    write_items: Callable[[Run], None],
    *,
    overwrite: bool,
    can_resume: bool = True,
) -> Iterator[None]:
    """Make the directories of new runs, locked, and take them away if the start fails.

    They are made beside their places, and renamed when all of them are whole. A start has failed
    when the block ends in an error before a training has opened its log. Whatever stops a training
    that is under way, too many unreadable files for instance, leaves the run to be resumed.

    Args:
        runs: The new runs; those of several seeds are made together.
        runtime: The main process writes.
        source: Where the images are from; the headers that were read are kept with each run.
        write_items: Writes ``items.csv``, or what else a run begins with, to the run that is given.
        overwrite: Delete earlier runs in their places.
        can_resume: Whether the command that makes the runs can resume them.
    """
    with ExitStack() as locks:
        if runtime.is_main:
            with ExitStack() as drafts:
                for run in runs:
                    draft = drafts.enter_context(run.draft(overwrite=overwrite))
                    locks.enter_context(locked(draft.path))  # it keeps its lock when it is renamed
                    source.keep_index(draft.index)
                    write_json(draft.path / "environment.json", environment(runtime, run.config))
                    write_items(draft)
        runtime.barrier()
        try:
            with failures_explained():
                yield
        except BaseException as error:
            if runtime.is_main:  # which takes away what the others would miss
                _explain_deletion(error, runs)
            is_failure = isinstance(error, QuarterturnError | OSError)
            if is_failure and not any(any(run.path.rglob(run.metrics_file.name)) for run in runs):
                if runtime.is_main:
                    _take_away(runs)
            elif can_resume and is_stop(error):
                error.add_note(_advice(runs))
            raise
        _require_there(runs)


@contextmanager
def resuming(runs: Sequence[Run], runtime: Runtime) -> Iterator[None]:
    """Lock runs that are resumed, and say how to resume them again if they are stopped.

    Args:
        runs: The runs of one command.
        runtime: The main process holds the locks.

    Raises:
        CheckpointError: Another command works on one of them, or they were deleted meanwhile.
    """
    with ExitStack() as locks:
        if runtime.is_main:
            for run in runs:
                locks.enter_context(locked(run.path))
        runtime.barrier()
        try:
            with stops_noted(lambda: _advice(runs)):
                yield
        except Exception as error:
            _explain_deletion(error, runs)
            raise
        _require_there(runs)


def _take_away(runs: Sequence[Run]) -> None:
    for run in runs:
        shutil.rmtree(run.path, ignore_errors=True)
    if len(runs) > 1:
        with suppress(OSError):  # something else is in it
            runs[0].path.parent.rmdir()


def _advice(runs: Sequence[Run]) -> str:
    """How runs that were stopped are resumed."""
    path = runs[0].path if len(runs) == 1 else runs[0].path.parent
    return f"resume with: {command(runs[0].kind, '--resume', path)}"


def _explain_deletion(error: BaseException, runs: Sequence[Run]) -> None:
    """Name the cause of a failure where it is that a run has been deleted."""
    if isinstance(error, QuarterturnError | OSError):
        _require_there(runs, error)


def _require_there(runs: Sequence[Run], cause: BaseException | None = None) -> None:
    """Refuse to end well where nothing is left of a run.

    Raises:
        CheckpointError: A run is no longer there.
    """
    for run in runs:
        if not (run.path / "config.json").exists():
            raise CheckpointError(
                f"{run.path} was deleted while the command wrote to it: begin a new run"
            ) from cause


def resumed_runtime(run: Run) -> Runtime:
    """The runtime that a run resumes with: its device, in the precision it began with.

    Raises:
        ConfigError: It began with another number of processes, or on another kind of device; or the
            logger is not possible here.
    """
    stored, machine = run.read_json("environment.json"), run.config.machine
    require_logger(machine.logger)
    precision = stored.get("precision", run.config.run.precision)
    if precision not in get_args(Precision):
        raise CheckpointError(
            f"{run.path / 'environment.json'} is damaged: precision is {precision!r}; expected "
            f"{', '.join(get_args(Precision))}"
        )
    runtime = Runtime(machine.device, precision, compile=machine.compile)
    check_device(run.config, runtime)
    if (before := stored.get("processes", runtime.world_size)) != runtime.world_size:
        raise ConfigError(
            f"the run began with {before} processes and cannot resume with {runtime.world_size}: "
            "batch norm would see other batches. Start "
            + (f"{before} with torchrun" if before > 1 else "it without torchrun")
        )
    return runtime


def warn_unfinished(run: Run) -> None:
    """Warn about a run whose weights are used before its last epoch."""
    done, epochs = run.epochs_done(), run.config.run.epochs
    if done < epochs and run.imported is None:
        logger.warning(f"{run.path} has done {done:.3g} of its {counted(epochs, 'epoch')} so far")
