"""``quarterturn pretrain``: unlabelled images in, a backbone out."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from quarterturn.config import Config
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.selection import Selection, select_images
from quarterturn.data.sources import locate
from quarterturn.engine.checkpoint import load_checkpoint
from quarterturn.engine.loop import Training, fit
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry, stderr_console, stdout_console
from quarterturn.errors import ConfigError, DataError
from quarterturn.evaluation.diagnostics import collapse_warning, diagnose
from quarterturn.methods.memory import memory_words
from quarterturn.methods.registry import build_method, check_network
from quarterturn.presets import default_preset
from quarterturn.presets import preset as preset_named
from quarterturn.report.run_report import diagnostics_table, write_run_report
from quarterturn.report.tables import print_table
from quarterturn.runs import (
    Run,
    command_line,
    environment,
    next_directory,
    write_items,
    write_json,
)


def pretrain(
    data: Path | str,
    *,
    out: Path | str | None = None,
    preset: str | None = None,
    config: Config | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Run:
    """Learn a representation from unlabelled images.

    Args:
        data: A folder, a ``.csv`` manifest, a ``.npz`` file, ``cifar10:ROOT``, ``cifar100:ROOT``,
            or ``digits``. Labels are not read, but to cut a long tail where ``long_tail`` asks.
        out: The run directory; by default ``runs/<data>-<n>``.
        preset: Name of a recipe; ``digits`` or ``folder`` by default.
        config: A whole configuration, in place of a preset.
        overwrite: Delete an earlier run at ``out``.
        quiet: Print nothing.
        **settings: Single settings by name, such as ``epochs=3``.

    Returns:
        The finished run.

    Raises:
        QuarterturnError: Settings, data or disk do not allow it; the message says what to do.
    """
    data = str(data)
    base = config or preset_named(preset or default_preset(data))
    config = base.with_settings(**settings)
    config.check()
    check_network(config)
    runtime = Runtime(config.machine.device, config.run.precision, compile=config.machine.compile)
    console = None if quiet or not runtime.is_main else stderr_console()
    try:
        images = _select(data, config, runtime)
        config = fit_batch_size(config, len(images.train), console)
        if config.run.batch_size < 2 * runtime.world_size * config.run.accumulate:
            raise ConfigError(
                f"--batch-size {config.run.batch_size} over {runtime.world_size} processes and "
                f"--accumulate {config.run.accumulate}: each part needs at least 2 images"
            )
        path = Path(out) if out is not None else next_directory(images.source.name)
        path = runtime.gather_objects(path)[0]  # one directory, chosen by the first process
        run = Run(path, locate(data), config, images.train.fingerprint())
        if runtime.is_main:
            run.create(overwrite=overwrite)
            write_json(path / "environment.json", environment(runtime, config))
            _write_items(run, images, {})
        runtime.barrier()
        return _train(run, images, runtime, console)
    finally:
        runtime.close()


def resume(path: Path | str, *, config: Config | None = None, quiet: bool = False) -> Run:
    """Continue an interrupted run from its last checkpoint, or from the beginning without one.

    Args:
        path: The run directory.
        config: The settings that the user asks for; they may differ from the run's in the
            machine's alone.
        quiet: Print nothing.

    Returns:
        The finished run. A run that was finished before is left as it is.

    Raises:
        QuarterturnError: There is no such run, its images have changed, or so have settings.
    """
    run = Run.open(path)
    data = run.data
    if data is None:
        raise ConfigError(
            f"the weights of {path} were imported: there is no training to go on with. Begin a new "
            "run with quarterturn pretrain DATA"
        )
    if config is not None:
        if changed := replace(config, machine=run.config.machine).differences(run.config):
            raise ConfigError(
                f"a resumed run keeps its settings, but these were given: {'; '.join(changed)} "
                "(given -> the run's). Leave them out, or begin a new run"
            )
        run = replace(run, config=replace(run.config, machine=config.machine))
    stored = run.read_json("environment.json")
    precision = stored.get("precision", run.config.run.precision)
    machine = run.config.machine
    runtime = Runtime(machine.device, precision, compile=machine.compile)
    if (before := stored.get("processes", runtime.world_size)) != runtime.world_size:
        raise ConfigError(
            f"the run began with {before} processes and cannot go on with {runtime.world_size}: "
            "batch norm would see other batches"
        )
    console = None if quiet or not runtime.is_main else stderr_console()
    try:
        images = _select(data, run.config, runtime)
        if (found := images.train.fingerprint()) != run.fingerprint:
            raise DataError(
                f"the images of {data} are not those the run began with (fingerprint {found}, "
                f"expected {run.fingerprint}): files were added, removed or changed"
            )
        return _train(run, images, runtime, console)
    finally:
        runtime.close()


def _select(data: str, config: Config, runtime: Runtime) -> Selection:
    """The run's images; where they are to be downloaded, the first process does it for all."""
    download = config.machine.download
    if download and not runtime.is_main:
        runtime.barrier()
    images = select_images(data, config.data, download=download and runtime.is_main)
    if download and runtime.is_main:
        runtime.barrier()
    return images


def fit_batch_size(config: Config, num_images: int, console: Console | None) -> Config:
    """Shrink a batch that is larger than the data, saying so."""
    if config.run.batch_size <= num_images:
        return config
    if console is not None:
        console.print(
            f"batch size {config.run.batch_size} is larger than the data: using {num_images}, "
            "all images in one batch"
        )
    return config.with_settings(batch_size=num_images)


def _train(run: Run, images: Selection, runtime: Runtime, console: Console | None) -> Run:
    config = run.config
    state = load_checkpoint(run.checkpoint) if run.checkpoint.exists() else None
    if console is not None and config.run.epochs and state is None:
        words = memory_words(
            config, images.train,
            precision=runtime.precision, device=runtime.device, processes=runtime.world_size,
            free=runtime.free_memory(),
        )  # fmt: skip
        console.print(words, highlight=False, markup=False)
    batches = TrainingBatches(
        images.train, config.data,
        batch_size=config.run.batch_size, seed=config.run.seed, device=runtime.device,
        workers=config.machine.workers, rank=runtime.rank, world_size=runtime.world_size,
        source=images.source,
    )  # fmt: skip
    total_steps = batches.steps_per_epoch * config.run.epochs
    if state is not None and state["step"] >= total_steps and (run.path / "report.html").exists():
        if console is not None:
            console.print(f"{run.path} is finished: nothing to do")
        return run

    method = build_method(
        config, len(images.train), device=runtime.device, mean_over_processes=runtime.mean
    )
    telemetry = Telemetry(
        run.metrics if runtime.is_main else None,
        total_steps=total_steps, steps_per_epoch=batches.steps_per_epoch,
        log_every=config.run.log_every, console=console, description=config.method.method,
        tensorboard=run.path / "tensorboard" if _wants_tensorboard(config, runtime) else None,
    )  # fmt: skip
    training = Training(
        method, batches, build_optimizer(method.network, config.optimizer), config.optimizer,
        runtime, telemetry, config.run.epochs, config.run.accumulate,
        checkpoint=run.checkpoint, checkpoint_every=config.run.checkpoint_every,
    )  # fmt: skip
    if state is not None:
        training.load_state_dict(state)
    if console is not None:
        _introduce(console, run, images, runtime, training)

    failed: dict[str, str] = {}
    every = config.run.diagnostics_every or max(1, config.run.epochs // 10)

    def after_epoch(done: int) -> None:
        due = done % every == 0 or done == config.run.epochs
        if config.run.diagnostics and due and runtime.is_main and images.held_out is not None:
            undecoded: dict[int, str] = {}
            values = dict(
                diagnose(
                    method.network, images.held_out, config.data,
                    device=runtime.device, workers=config.machine.workers, failed=undecoded,
                )
            )  # fmt: skip
            failed.update({images.held_out.names[i]: why for i, why in undecoded.items()})
            telemetry.record("diagnostics", step=training.step - 1, epoch=done, **values)
            if warning := collapse_warning(values):
                telemetry.say(warning)

    training.after_epoch = after_epoch
    with telemetry:
        fit(training)
    if runtime.is_main:
        failed.update({images.train.names[i]: why for i, why in batches.failed.items()})
        _conclude(run, images, failed, console)
    return run


def _wants_tensorboard(config: Config, runtime: Runtime) -> bool:
    if not (config.machine.tensorboard and runtime.is_main):
        return False
    if find_spec("tensorboard") is None:
        raise ConfigError("--tensorboard needs an extra: pip install 'quarterturn[tensorboard]'")
    return True


def _introduce(
    console: Console, run: Run, images: Selection, runtime: Runtime, training: Training
) -> None:
    """Say what is about to happen."""
    config = run.config
    for line in images.source.summary():
        console.print(line, highlight=False, markup=False)
    held = 0 if images.held_out is None else len(images.held_out)
    parameters = sum(p.numel() for p in training.method.network.parameters())
    console.print(
        f"{config.method.method} with {config.model.backbone} ({parameters / 1e6:.1f} million "
        f"parameters) at {config.data.image_size} px: {len(images.train):,} images to learn from, "
        f"{held:,} held out for diagnostics; {images.labels_read or 'no labels are read'}\n"
        f"{config.run.epochs} epochs of {training.batches.steps_per_epoch} steps, on "
        f"{runtime.device} in {runtime.precision}; run directory {run.path}",
        highlight=False, markup=False,
    )  # fmt: skip
    if config.run.epochs == 0:
        console.print("0 epochs: nothing is trained; the run holds the untrained backbone")
    if training.step:
        console.print(f"going on after step {training.step}")


def _conclude(run: Run, images: Selection, failed: dict[str, str], console: Console | None) -> None:
    """Write what a finished run holds beside its checkpoint, and say where it is."""
    _write_items(run, images, failed)
    diagnostics = run.read_metrics("diagnostics")
    last = diagnostics[-1] if diagnostics else {}
    held = 0 if images.held_out is None else len(images.held_out)
    table = diagnostics_table(last, held)
    write_json(run.path / "summary.json", {"diagnostics": last, "table": table.to_dict()})
    warning = collapse_warning(last)
    write_run_report(
        run,
        source_lines=[
            *images.source.summary(),
            f"{len(images.train):,} images were learned from; "
            f"{images.labels_read or 'no labels were read'}",
        ],
        unreadable=images.source.unreadable | failed,
        tables=[],  # the page shows the diagnostics in words of its own
        warnings=[warning] if warning else [],
        images=images.held_out if images.held_out is not None else images.train,
        network=run.load_network(),
        command=command_line(),
    )
    if console is not None:
        if last:
            print_table(stdout_console(), table)
        if failed:
            console.print(f"{len(failed)} files could not be decoded; items.csv lists them")
        console.print(f"report: {run.path / 'report.html'}", highlight=False, markup=False)


def _write_items(run: Run, images: Selection, failed: dict[str, str]) -> None:
    held_out = images.held_out if images.held_out_of_train else None
    write_items(run.path / "items.csv", images.source, images.train, held_out, failed)
