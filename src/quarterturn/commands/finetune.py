"""``quarterturn finetune``: labelled images in, a classifier out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from quarterturn.commands.beginning import fit_batch_size, runtime_of, wants_tensorboard
from quarterturn.commands.classifier_results import (
    RESULTS,
    conclude,
    summarise_seeds,
    tested,
    write_image_list,
)
from quarterturn.commands.late_settings import never_in_force
from quarterturn.config import Config
from quarterturn.data.examples import Examples, open_split
from quarterturn.data.labelled import LabelledSplit
from quarterturn.data.sources import locate
from quarterturn.engine.loop import Training, fit
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import line_printer, stderr_console
from quarterturn.errors import ConfigError
from quarterturn.evaluation.learned import count_learned
from quarterturn.methods.memory import memory_words
from quarterturn.methods.registry import build_classification, build_network, check_network
from quarterturn.presets import default_classifier_preset, seen_as_by
from quarterturn.presets import preset as preset_named
from quarterturn.report.classifier_tables import MEASURES, start_words
from quarterturn.report.tables import percent
from quarterturn.runs import (
    Run,
    environment,
    next_directory,
    prepare_seeds,
    seed_directory,
    seed_runs,
    write_json,
)
from quarterturn.training import prepare_training


def finetune(
    data: Path | str,
    *,
    start: Path | str | None = None,
    out: Path | str | None = None,
    preset: str | None = None,
    config: Config | None = None,
    seeds: int = 1,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> list[Run]:
    """Learn a classifier from labelled images.

    It is tested on the data's test split every few epochs, or on a stratified part that the seed
    holds out; the figures that count are those of the last epoch.

    Args:
        data: DATA with labels.
        start: A run whose backbone the training begins with; from scratch without. A preset then
            shows images as that run saw them, unless settings say otherwise; a ``config`` is taken
            as it is.
        out: The run directory; by default ``runs/<data>-finetune-<n>``.
        preset: Name of a recipe; by default ``digits-classifier``, ``cifar10-classifier`` or
            ``folder-classifier``.
        config: A whole configuration, in place of a preset. Its method is taken for ``classifier``.
        seeds: How many trainings, from the configured seed on. Several get folders ``seed-<n>`` in
            ``out``, and their mean and spread are written beside them.
        overwrite: Delete earlier runs at ``out``, those of other seeds as well.
        quiet: Print nothing.
        **settings: Single settings by name, such as ``loss="ldam"``.

    Returns:
        The finished runs, one for each seed, each with ``results.json`` and ``report.html``.

    Raises:
        QuarterturnError: Settings, data or disk do not allow it; the message says what to do.
    """
    data = str(data)
    pretrained = None if start is None else Run.open(start)
    base = config or preset_named(preset or default_classifier_preset(data))
    if config is None and pretrained is not None:
        base = seen_as_by(pretrained.config, base)
    config = base.with_settings(**settings, method="classifier")
    config.check()
    check_network(config)
    if seeds < 1:
        raise ConfigError(f"--seeds is {seeds}; expected 1 or more")
    if pretrained is not None:
        _check_backbone(pretrained, config)
    runtime = Runtime(config.machine.device, config.run.precision, compile=config.machine.compile)
    console = None if quiet or not runtime.is_main else stderr_console()
    try:
        index = None if pretrained is None else pretrained.index
        split = _open(data, config, runtime, index, console)
        path = Path(out) if out is not None else next_directory(f"{split.source.name}-finetune")
        path = runtime.gather_objects(path)[0]  # one directory, chosen by the first process
        runs: list[Run] = []
        # All are made before the first is trained, so that --resume knows how many there are.
        for seed in range(config.run.seed, config.run.seed + seeds):
            seeded = config.with_settings(seed=seed)
            train = _examples(split, seeded).train
            run = Run(
                path if seeds == 1 else seed_directory(path, seed),
                locate(data),
                fit_batch_size(seeded, len(train), runtime, None if runs else console),
                train.fingerprint(),
                "finetune",
                None if pretrained is None else str(pretrained.path.resolve()),
                tuple(train.class_names),
                labels_fingerprint=split.labels_fingerprint(),
            )
            runs.append(run)
        if runtime.is_main:
            if seeds > 1:
                prepare_seeds(path, overwrite=overwrite)
            for run in runs:
                _create(run, split, runtime, overwrite=overwrite)
        runtime.barrier()
        _train_all(path, runs, split, runtime, console)
        return runs
    finally:
        runtime.close()


def resume_finetune(
    path: Path | str, *, config: Config | None = None, quiet: bool = False
) -> list[Run]:
    """Continue interrupted runs from their last checkpoints, or from the beginning without one.

    Args:
        path: The run directory, or that of several seeds: all of them are finished, and their mean
            and spread written.
        config: The settings that the user asks for, with the first seed; they may differ from the
            run's in the machine's alone.
        quiet: Print nothing.

    Returns:
        The finished runs, one for each seed. A run that was finished before is left as it is.

    Raises:
        QuarterturnError: There is no such run, its images or labels have changed, or so have
            settings.
    """
    path = Path(path)
    runs = seed_runs(path) or [Run.open(path)]
    first = runs[0].config.run.seed
    for i, run in enumerate(runs):
        run.require_kind("finetune")
        seed_after_first = run.config.run.seed - first
        runs[i] = run.with_machine_of(
            config and config.with_settings(seed=config.run.seed + seed_after_first)
        )
    run = runs[0]
    runtime = runtime_of(run)
    console = None if quiet or not runtime.is_main else stderr_console()
    try:
        split = _open(run.data_or_own(None), run.config, runtime, run.index, console)
        for run in runs:
            run.require_images(_examples(split, run.config).train)
            run.require_labels(split.labels_fingerprint())
        _train_all(path, runs, split, runtime, console)
        return runs
    finally:
        runtime.close()


def _create(run: Run, split: LabelledSplit, runtime: Runtime, *, overwrite: bool) -> None:
    run.create(overwrite=overwrite)
    split.source.keep_index(run.index)
    write_json(run.path / "environment.json", environment(runtime, run.config))
    write_image_list(run, _examples(split, run.config), {})


def _train_all(
    path: Path, runs: list[Run], split: LabelledSplit, runtime: Runtime, console: Console | None
) -> None:
    """Train each run, and write the summary of several beside them."""
    for run in runs:
        _train(run, _examples(split, run.config), runtime, console)
    if runs[0].path != path and runtime.is_main:
        summarise_seeds(path, runs, console)


def _open(
    data: str, config: Config, runtime: Runtime, index: Path | None, console: Console | None
) -> LabelledSplit:
    download = config.machine.download
    with runtime.main_first(download):
        return open_split(
            data, config,
            download=download and runtime.is_main, index=index, say=line_printer(console),
        )  # fmt: skip


def _examples(split: LabelledSplit, config: Config) -> Examples:
    leave_out_empty = config.classifier.leave_out_empty
    return Examples.of(split, config.run.seed, leave_out_empty=leave_out_empty)


def _check_backbone(pretrained: Run, config: Config) -> None:
    """Refuse a run whose weights cannot be read, or do not fit, before anything is made."""
    found, wanted = pretrained.config.model.backbone, config.model.backbone
    if found != wanted:
        raise ConfigError(
            f"--from {pretrained.path} has a {found} for a backbone, and --backbone is {wanted}: "
            "leave it out, and it is the run's"
        )
    weights = pretrained.load_network().backbone.state_dict()
    with torch.device("meta"):
        expected = build_network(config, num_classes=2).backbone.state_dict()
    misfits = [name for name in expected if weights[name].shape != expected[name].shape]
    if misfits:
        raise ConfigError(
            f"--from {pretrained.path} was trained at {pretrained.config.data.image_size} px, and "
            f"its {misfits[0]} does not fit --image-size {config.data.image_size}: leave it out, "
            "and it is the run's"
        )


def _train(run: Run, examples: Examples, runtime: Runtime, console: Console | None) -> None:
    config = run.config
    if console is not None and config.run.epochs and not run.checkpoint.exists():
        words = memory_words(
            config, examples.train,
            precision=runtime.precision, device=runtime.device, processes=runtime.world_size,
            free=runtime.free_memory(),
        )  # fmt: skip
        console.print(words, highlight=False, markup=False)
    counts = torch.from_numpy(examples.class_counts)
    method = build_classification(config, counts, device=runtime.device)
    if run.start is not None and not run.checkpoint.exists():
        pretrained = Run.open(run.start).load_network().backbone
        method.network.backbone.load_state_dict(pretrained.state_dict())
    training = prepare_training(
        config, examples.train, runtime,
        method=method, source=examples.split.source,
        chances=examples.chances(config.classifier.resample, config.balance.beta),
        checkpoint=run.checkpoint, metrics=run.metrics, console=console,
        tensorboard=run.path / "tensorboard" if wants_tensorboard(config, runtime) else None,
    )  # fmt: skip
    if training.step >= training.total_steps and (run.path / RESULTS).exists():
        if console is not None:
            console.print(f"{run.path} is finished: nothing to do")
        return
    learned: dict[str, int | None] = {}
    if run.start is not None and runtime.is_main:
        learned = count_learned(run.start, examples.test, str(run.data))
    if console is not None:
        _introduce(console, run, examples, runtime, training)
        if words := start_words(learned):
            console.print(words)

    failed: dict[str, str] = {}
    last: dict[str, Any] = {}
    every = config.run.diagnostics_every or max(1, config.run.epochs // 10)

    def after_epoch(done: int) -> None:
        due = config.run.diagnostics and done % every == 0
        if runtime.is_main and (due or done == config.run.epochs):
            figures = tested(method, examples, config, runtime, failed)
            training.telemetry.record(
                "evaluation", step=training.step - 1, epoch=done,
                **{name: figures[name] for name in MEASURES},
            )  # fmt: skip
            training.telemetry.say(
                f"after epoch {done}: top-1 {percent(figures['top1'])}, balanced "
                f"{percent(figures['balanced'])}, worst class {figures['worst_class_name']} "
                f"{percent(figures['worst_class'])}"
            )
            if done == config.run.epochs:
                last.update(figures)

    training.after_epoch = after_epoch
    with training.telemetry:
        fit(training)
    if runtime.is_main:
        failed.update({examples.train.names[i]: why for i, why in training.batches.failed.items()})
        # A run of no epochs, or one that was interrupted right at its end, was not tested above.
        figures = last or tested(method, examples, config, runtime, failed)
        conclude(run, examples, figures, failed, learned, console)
    runtime.barrier()


def _introduce(
    console: Console, run: Run, examples: Examples, runtime: Runtime, training: Training
) -> None:
    """Say what is about to happen."""
    config, settings = run.config, run.config.classifier
    for line in examples.split.source.summary():
        console.print(line, highlight=False, markup=False)
    begun = "from scratch" if run.start is None else f"from {run.start}"
    parameters = sum(p.numel() for p in training.method.network.parameters() if p.requires_grad)
    rules = f"re-weighting {settings.reweight}, resampling {settings.resample}"
    console.print(
        f"{examples.words()}\n"
        f"{settings.loss}, {rules}; {config.model.backbone} {begun} at {config.data.image_size} "
        f"px, {parameters / 1e6:.2f} million parameters to train\n"
        f"{config.run.epochs} epochs of {training.batches.steps_per_epoch} steps, on "
        f"{runtime.device} in {runtime.precision}; run directory {run.path}",
        highlight=False, markup=False,
    )  # fmt: skip
    for warning in never_in_force(config):
        console.print(warning, highlight=False, markup=False)
    if training.step:
        console.print(f"going on after step {training.step}")
