"""``quarterturn pretrain``: unlabelled images in, a backbone out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quarterturn.config.options import take_options_and_settings
from quarterturn.data.data_argument import locate
from quarterturn.data.selection import Selection
from quarterturn.engine.loop import Training
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError, DataError
from quarterturn.features.gallery import save_gallery
from quarterturn.files import write_json
from quarterturn.methods.base import Method
from quarterturn.methods.build import build_method, check_network
from quarterturn.methods.configuration import Config, setting_names
from quarterturn.orientation.folds import require_enough
from quarterturn.orientation.upright_table import agnostic_of, p_upright_of
from quarterturn.pages.report import never_fatal, refresh_report
from quarterturn.pages.tables import show
from quarterturn.presets import default_preset, fold_recipe
from quarterturn.presets import preset as preset_named
from quarterturn.pretraining.collection_pictures import save_collection
from quarterturn.pretraining.diagnostics import collapse_warning, diagnose, diagnostics_table
from quarterturn.pretraining.noise_aware import (
    agnostic_for,
    agnostic_warnings,
    p_upright_for,
    upright_file,
    upright_passes,
)
from quarterturn.pretraining.options import PretrainOptions
from quarterturn.progress import stage
from quarterturn.runs import Run, next_directory, write_items
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.facts import write_facts
from quarterturn.runs.life_cycle import TrainingFiles, TrainingJob, train
from quarterturn.runs.start import fit_batch_size, resumed_runtime, select_for_all, starting
from quarterturn.runs.without_effect import options_without_effect

logger = logging.getLogger(__name__)


def pretrain(
    data: Path | str,
    options: PretrainOptions | None = None,
    *,
    config: Config | None = None,
    **fields: Any,
) -> Run:
    """Learn a representation from unlabelled images.

    Args:
        data: A folder, a ``.csv`` manifest, a ``.npz`` file, ``digits``, or NAME:ROOT, such as
            ``imagenet:ROOT`` or ``stl10-unlabeled:ROOT``. Labels are not read, but to cut a long
            tail where ``long_tail`` asks, and to count classes where ``counts="labels"`` does.
        options: The run directory, and the preset.
        config: A whole configuration, in place of a preset.
        **fields: Fields of `PretrainOptions`, in place of ``options`` or of some of its values,
            and settings of the run without their groups: ``epochs=3, method="rotnet"``.

    Returns:
        The finished run.

    Raises:
        QuarterturnError: Settings, data or disk do not allow it; the message says what to do.
    """
    own, settings = take_options_and_settings(PretrainOptions, options, fields, setting_names())
    data = str(data)
    base = config or preset_named(own.preset or default_preset(data))
    config = base.with_settings(**settings)
    config.check()
    if config.method.command != "pretrain":
        raise ConfigError(
            f"--method {config.method.name} is trained by: quarterturn {config.method.command}"
        )
    check_network(config)
    if config.noise_aware.upright == "auto":
        check_network(fold_recipe(config))
    elif config.noise_aware.upright != "none":
        upright = upright_file(config.noise_aware.upright).resolve()
        config = config.with_settings(upright=str(upright))
    runtime = Runtime(config.machine.device, config.run.precision, compile=config.machine.compile)
    try:
        images = select_for_all(data, config, runtime)
        if config.noise_aware.upright == "auto":
            require_enough(len(images.chosen), config.upright.folds)
        elif config.noise_aware.upright != "none":
            # A file of other data is refused before the run has a directory.
            given = Path(config.noise_aware.upright)
            p_upright_of(given, images.train, (images.source.train, images.chosen))
            if config.imbalance.balance_agnostic:
                agnostic_of(given, images.train)
        if config.imbalance.reads_labels and images.train.labels is None:
            raise DataError(
                f"--counts labels: the images of {data} have no labels to count; --counts clusters "
                "needs none"
            )
        config = fit_batch_size(config, len(images.train), runtime)
        path = own.out or next_directory(images.source.name)
        path = runtime.gather_objects(path)[0]  # one directory, chosen by the first process
        run = Run(path, locate(data), config, images.train.fingerprint())

        def write_first(draft: Run) -> None:
            _write_items(draft, images, {})

        with starting([run], runtime, images.source, write_first, overwrite=own.overwrite):
            _train(run, images, runtime)
        return run
    finally:
        runtime.close()


def resume(path: Path | str, *, config: Config | None = None) -> Run:
    """Continue an interrupted run from its last checkpoint, or from the beginning without one.

    Args:
        path: The run directory.
        config: The settings that the user asks for; they may differ from the run's in the
            machine's own.

    Returns:
        The finished run. A run that was finished before is left as it is.

    Raises:
        QuarterturnError: There is no such run, its images have changed, or so have settings.
    """
    run = Run.open(path)
    data = run.data
    if data is None:
        raise ConfigError(
            f"the weights of {path} were imported: there is no training to resume. Begin a new "
            "run with quarterturn pretrain DATA"
        )
    run.require_kind("pretrain")
    run = run.with_machine_of(config)
    runtime = resumed_runtime(run)
    try:
        images = select_for_all(data, run.config, runtime, index=run.index)
        run.require_images(images.train)
        _train(run, images, runtime)
        return run
    finally:
        runtime.close()


def _train(run: Run, images: Selection, runtime: Runtime) -> None:
    # A tenth of the training's own passes over the images is the report's.
    epochs = run.config.run.epochs
    with stage("pretrain", total=upright_passes(run.config) + 1.1 * epochs):
        p_upright = p_upright_for(run, images, runtime)
        train(
            Pretraining(
                config=run.config,
                images=images.train,
                runtime=runtime,
                source=images.source,
                files=TrainingFiles.of_run(run),
                name=run.config.method.name,
                weight=epochs,
                run=run,
                selection=images,
                p_upright=p_upright,
            )
        )
    log_closing(
        f"trained on {len(images.train):,} images for {epochs:,} "
        f"{'epoch' if epochs == 1 else 'epochs'}",
        {"report": run.path / "report.html", "run": run.path},
        [
            ("probe", run.path, run.data),
            ("neighbors", run.path, images.train.names[0]),
            ("embed", run.path, "--out", run.path / "features.npz"),
        ],
    )


@dataclass(frozen=True, kw_only=True)
class Pretraining(TrainingJob[Method]):
    """Learns a representation without labels, and diagnoses it on images that are held out.

    Attributes:
        run: The run directory.
        selection: Its images: those that are learned from, and those held out.
        p_upright: (N, 4) probabilities for the noise-aware phase, or None.
    """

    run: Run
    selection: Selection
    p_upright: Tensor | None

    estimates_memory = True

    def build_method(self) -> Method:
        """The method that the settings name."""
        labels = None
        if self.config.imbalance.reads_labels and self.images.labels is not None:
            labels = torch.from_numpy(self.images.labels)
        return build_method(
            self.config,
            len(self.images),
            p_upright=self.p_upright,
            agnostic=agnostic_for(self.run, self.selection),
            labels=labels,
            device=self.runtime.device,
            mean_over_processes=self.runtime.mean,
        )

    def is_concluded(self) -> bool:
        """The page comes last."""
        return (self.run.path / "report.html").exists()

    @property
    def place(self) -> str:
        """The run directory."""
        return str(self.run.path)

    def introduce(self, training: Training[Method]) -> None:
        """Log the data, the network and the epochs to come."""
        _introduce(self.run, self.selection, self.runtime, training)

    def evaluate(self, training: Training[Method], epochs_done: int) -> None:
        """Diagnose the features on held-out images."""
        held_out = self.selection.held_out
        if held_out is None or not self.config.run.diagnostics:
            return
        undecoded: dict[int, str] = {}
        values = dict(
            diagnose(
                training.method.network,
                held_out,
                self.config.data,
                device=self.runtime.device,
                workers=self.config.machine.workers,
                failed=undecoded,
            )
        )
        self.unreadable.update(
            {self.selection.file_of_held_out(i): why for i, why in undecoded.items()}
        )
        training.telemetry.record(
            "diagnostics", step=training.step - 1, epoch=epochs_done, **values
        )
        if warning := collapse_warning(values):
            logger.warning(warning)

    def conclude(self, training: Training[Method]) -> None:
        """Write tables, pictures and the page."""
        with stage("report", weight=0.1 * self.config.run.epochs):
            _conclude(self.run, self.selection, self.unreadable)


def _labels_read(config: Config, images: Selection) -> str:
    """What labels are read for, in words; empty where they are not."""
    counted = "labels were read to count classes (--counts labels)"
    parts = [images.labels_read, counted if config.imbalance.reads_labels else ""]
    return "; ".join(part for part in parts if part)


def _warnings(run: Run, images: Selection) -> list[str]:
    """Warnings about options that have no effect."""
    return [*options_without_effect(run.config), *agnostic_warnings(run, images)]


def _introduce(run: Run, images: Selection, runtime: Runtime, training: Training[Method]) -> None:
    """Say what is about to happen."""
    config = run.config
    images.source.log_summary()
    held = 0 if images.held_out is None else len(images.held_out)
    labels_read = _labels_read(config, images)
    parameters = sum(p.numel() for p in training.method.network.parameters())
    logger.info(
        f"{config.method.name} with {config.model.backbone} ({parameters / 1e6:.1f} million "
        f"parameters) at {config.data.image_size} px: {len(images.train):,} images to learn from, "
        f"{held:,} held out for diagnostics; {labels_read or 'no labels are read'}\n"
        f"{config.run.epochs} epochs of {training.batches.steps_per_epoch} steps, on "
        f"{runtime.device} in {runtime.precision}; run directory {run.path}"
    )
    if config.run.epochs == 0:
        logger.info("0 epochs: nothing is trained; the run holds the untrained backbone")
    for warning in _warnings(run, images):
        logger.warning(warning)


def _conclude(run: Run, images: Selection, failed: dict[str, str]) -> None:
    """Write what a finished run holds beside its checkpoint, and say where it is."""
    _write_items(run, images, failed)
    diagnostics = run.read_metrics("diagnostics")
    last = diagnostics[-1] if diagnostics else {}
    held = 0 if images.held_out is None else len(images.held_out)
    table = diagnostics_table(last, held)
    write_json(run.path / "summary.json", {"diagnostics": last, "table": table.to_dict()})
    collapsed = collapse_warning(last)
    labels_read = _labels_read(run.config, images) or "no labels were read"
    write_facts(
        run,
        data=[
            *images.source.summary(),
            f"{len(images.train):,} images to learn from; {labels_read}",
        ],
        warnings=[*_warnings(run, images), *([collapsed] if collapsed else [])],
    )
    with never_fatal("the pictures of the page", run):
        network = run.load_network()
        save_collection(run, network, images.train)
        save_gallery(run, network, images.held_out or images.train)
    refresh_report(run)
    if last:
        show(table)
    log_unreadable(images.source.unreadable | failed, run.path / "items.csv")


def _write_items(run: Run, images: Selection, failed: dict[str, str]) -> None:
    held_out = images.held_out if images.held_out_of_train else None
    write_items(run.path / "items.csv", images.source, images.train, held_out, failed)
