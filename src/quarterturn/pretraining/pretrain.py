"""``quarterturn pretrain``: unlabelled images in, a backbone out."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from quarterturn.config.options import take_options_and_settings
from quarterturn.config.time_budget import AUTO, NONE, both_given, seconds_of
from quarterturn.data.data_argument import locate
from quarterturn.data.selection import Selection
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError, DataError
from quarterturn.methods.build import check_network, with_fitting_views
from quarterturn.methods.configuration import Config, setting_names
from quarterturn.orientation.folds import require_enough
from quarterturn.orientation.upright_table import agnostic_of, p_upright_of
from quarterturn.presets import default_preset, fold_recipe, recipe_for
from quarterturn.pretraining.cached_images import data_in_cache
from quarterturn.pretraining.learning_curve import LabelledSample, require_same_sample
from quarterturn.pretraining.noise_aware import (
    p_upright_for,
    upright_file,
    upright_passes,
)
from quarterturn.pretraining.options import PretrainOptions
from quarterturn.pretraining.training import REPORT_SHARE, Pretraining, write_image_list
from quarterturn.progress import stage
from quarterturn.runs import Run, next_directory
from quarterturn.runs.closing import log_closing
from quarterturn.runs.directory import check_place
from quarterturn.runs.dry_run import rehearse
from quarterturn.runs.life_cycle import TrainingFiles, train
from quarterturn.runs.resumption import (
    place_of_data,
    require_images,
    require_kind,
    with_data,
    with_machine_of,
)
from quarterturn.runs.start import (
    fit_batch_size,
    new_runtime,
    resumed_runtime,
    resuming,
    select_for_all,
    starting,
)
from quarterturn.runs.time_budget import choose_epochs, measure_cost
from quarterturn.weights.start import Start, check_fits, open_start
from quarterturn.weights.timm_weights import TIMM

logger = logging.getLogger(__name__)

DEFAULT_BUDGET = "1h"
"""Of photos on a processor, where nobody has said how long."""


def pretrain(
    data: Path | str,
    options: PretrainOptions | None = None,
    *,
    config: Config | None = None,
    **fields: Any,
) -> Run:
    """Learn a representation from unlabelled images.

    Args:
        data: A folder, shards, a ``.csv`` manifest, a ``.npz`` file, ``digits``, or NAME:ROOT, such
            as ``imagenet:ROOT`` or ``stl10-unlabeled:ROOT``. Labels are not read, but to cut a long
            tail where ``long_tail`` asks, and to count classes where ``counts="labels"`` does.
        options: The run directory, and the preset.
        config: A whole configuration, in place of a preset.
        **fields: Fields of `PretrainOptions`, in place of ``options`` or of some of its values,
            and settings of the run without their groups: ``epochs=3, method="rotnet"``.

    Returns:
        The finished run; with ``dry_run`` the run that would be made, of which nothing is written.

    Raises:
        QuarterturnError: Settings, data or disk do not allow it; the message says what to do.
    """
    own, settings = take_options_and_settings(PretrainOptions, options, fields, setting_names())
    data = str(data)
    began_s = time.perf_counter()
    start = _start(own, config, settings)
    budget = _budget(own, config, settings)
    if config is None:
        start_recipe = None if start is None else start.run.config
        config = recipe_for(data, own.preset, settings.get("method"), start_recipe)
    config = config.with_settings(**settings)
    config.check_values()
    config = with_fitting_views(config)
    config.check()
    _check_start(start, config)
    if config.method.command != "pretrain":
        raise ConfigError(
            f"--method {config.method.name} is trained by: quarterturn {config.method.command}"
        )
    check_network(config)
    if config.noise_aware.upright == "auto":
        recipe = fold_recipe(config)
        if recipe.method.needs_start and start is None:
            raise ConfigError(
                f"--fold-preset {config.noise_aware.fold_preset} fits heads on trained weights: "
                "give --from, or another --fold-preset"
            )
        check_network(recipe)
    elif config.noise_aware.upright != "none":
        upright = upright_file(config.noise_aware.upright).resolve()
        config = config.with_settings(upright=str(upright))
    if (probe_data := config.learning_curve.probe_data) is not None:
        config = config.with_settings(probe_data=locate(probe_data))
    runtime = new_runtime(config)
    try:
        if own.cache is not None and not own.dry_run:
            data = data_in_cache(data, own.cache, config, runtime)
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
                f"--counts labels: the images of {data} do not have one label each to count; "
                "--counts clusters needs none"
            )
        config = fit_batch_size(config, len(images.train), runtime)
        sample = _labelled_sample(config, data, images, runtime)
        if budget != NONE and not (budget == AUTO and _ends_by_itself(data, config, runtime)):
            config = _within(budget, began_s, config, images, start, runtime, sample)
        path = own.out or next_directory(images.source.name)
        path = runtime.gather_objects(path)[0]  # one directory, chosen by the first process
        run = Run(
            path,
            locate(data),
            config,
            images.train.fingerprint(),
            start=None if start is None else start.words,
            origin=None if start is None else start.run.provenance,
            cache=images.source.cache,
        )

        if own.dry_run:
            check_place(run.path, overwrite=own.overwrite, needed=run.needed)
            _warn_left_out(own, config)
            rehearsal = _rehearsal(config, images, start, runtime, sample)
            rehearse(replace(rehearsal, run=run), run.path)
            return run

        def write_first(draft: Run) -> None:
            write_image_list(draft, images, {})
            if start is not None:
                start.keep(draft)

        with starting([run], runtime, images.source, write_first, overwrite=own.overwrite):
            _train(run, images, runtime, sample)
        return run
    finally:
        runtime.close()


def _labelled_sample(
    config: Config, data: str, images: Selection, runtime: Runtime, *, index: Path | None = None
) -> LabelledSample | None:
    """The labelled images of the quick probes; None where there are to be none.

    Args:
        config: All settings.
        data: DATA, or where it is now.
        images: Those to learn from.
        runtime: The main process downloads what is missing.
        index: Where the run keeps the headers of image files.
    """
    curve, download = config.learning_curve, config.machine.download
    if curve.probe_every is None:
        return None
    if curve.probe_data is None:
        return LabelledSample.of(images.source, data)
    with runtime.main_first(download):
        source = open_source(
            curve.probe_data,
            index=index,
            **config.data.reading,
            download=download and runtime.is_main,
        )
    return LabelledSample.of(source, curve.probe_data)


def _budget(own: PretrainOptions, config: Config | None, settings: dict[str, Any]) -> str:
    """The time that the options ask for, or ``auto`` or ``none``.

    Raises:
        ConfigError: They say how many epochs there are too.
    """
    if own.budget is not None:
        if own.budget != NONE and "epochs" in settings:
            raise both_given(own.budget, settings["epochs"])
        return own.budget
    is_said = config is not None or own.preset is not None or "epochs" in settings
    return NONE if is_said else AUTO


def _ends_by_itself(data: str, config: Config, runtime: Runtime) -> bool:
    """Whether ``auto`` leaves a training as long as its recipe has it."""
    of_photos = default_preset(data) == "folder"
    made_first = config.noise_aware.upright == "auto"  # these steps say nothing of its time
    return not of_photos or runtime.device.type != "cpu" or not config.run.epochs or made_first


def _within(
    budget: str,
    began_s: float,
    config: Config,
    images: Selection,
    start: Start | None,
    runtime: Runtime,
    sample: LabelledSample | None,
) -> Config:
    """The configuration with the epochs that fit into a time; arguments as `pretrain` has them."""
    if config.noise_aware.upright == "auto":
        raise ConfigError(
            f"--budget {budget} is the time of one training, and --upright auto trains others "
            "first: make them with quarterturn upright, and give --upright RUN"
        )
    words = DEFAULT_BUDGET if budget == AUTO else budget
    cost = measure_cost(_rehearsal(config, images, start, runtime, sample))
    budget_s = seconds_of(words)
    left_s = runtime.gather_objects(budget_s - (time.perf_counter() - began_s))[0]
    chosen = choose_epochs(
        config,
        cost,
        words,
        budget_s=budget_s,
        left_s=left_s,
        at_most=config.run.epochs if budget == AUTO else None,
        num_images=len(images.train),
    )
    chosen.check()
    return chosen


def _warn_left_out(own: PretrainOptions, config: Config) -> None:
    """Say what a dry run does not time."""
    if own.cache is not None:
        logger.warning("the cache is not made: what follows is timed from the images as they are")
    if config.noise_aware.upright == "auto":
        logger.warning("the networks that --upright auto trains first are not in what follows")


def _rehearsal(
    config: Config,
    images: Selection,
    start: Start | None,
    runtime: Runtime,
    sample: LabelledSample | None,
) -> Pretraining:
    """A training of which some steps are timed; arguments as `pretrain` has them."""
    # Weights of turns and images cost nothing that would show, and need files of the run.
    plain = config.with_settings(
        upright="none", balance_turns=False, balance_agnostic=False, balance_semantic=False
    )
    if plain.run.epochs == 0:
        plain = plain.with_settings(epochs=1)
    return Pretraining(
        config=plain,
        images=images.train,
        runtime=runtime,
        source=images.source,
        name="timing",
        run=Run(Path(), None, plain, None),
        selection=images,
        p_upright=None,
        start=None if start is None else start.network,
        sample=sample,
    )


def _start(own: PretrainOptions, config: Config | None, settings: dict[str, Any]) -> Start | None:
    """The weights that the options ask for."""
    known = config.settings() if config is not None else {}
    backbone = settings.get("backbone", known.get("backbone"))
    words = own.start
    if own.pretrained:
        if words is not None:
            raise ConfigError(f"give --from {words} or --pretrained, not both")
        if backbone is None or not backbone.startswith(TIMM):
            raise ConfigError(
                f"--pretrained is for networks of timm, and --backbone is {backbone or 'not given'}"
                ": give --backbone timm:NAME, or --from FILE"
            )
        words = backbone
    if words is None:
        return None
    download = settings.get("download", known.get("download", False))
    return open_start(words, backbone, download=download)


def _check_start(start: Start | None, config: Config) -> None:
    """Refuse weights that do not fit, and a method that needs some where there are none."""
    if start is not None:
        check_fits(start, config)
    elif config.method.needs_start:
        raise ConfigError(
            f"--method {config.method.name} learns from trained weights: give --from RUN, --from "
            "FILE, or --backbone timm:NAME --pretrained"
        )


def resume(
    path: Path | str, *, config: Config | None = None, data: Path | str | None = None
) -> Run:
    """Continue an interrupted run from its last checkpoint, or from the beginning without one.

    Args:
        path: The run directory.
        config: The settings that the user asks for; they may differ from the run's in the
            machine's own.
        data: Where the run's images are now, if they have moved; kept with the run.

    Returns:
        The finished run. A run that was finished before is left as it is.

    Raises:
        QuarterturnError: There is no such run, its images have changed, or so have settings.
    """
    run = Run.open(path)
    if run.data is None:
        raise ConfigError(
            f"the weights of {path} were imported: there is no training to resume. Begin a new "
            "run with quarterturn pretrain DATA"
        )
    require_kind(run, "pretrain")
    run = with_machine_of(run, config)
    runtime = resumed_runtime(run)
    try:
        with resuming([run], runtime):
            place = place_of_data(run, data)
            images = select_for_all(place, run.config, runtime, index=run.index)
            require_images(run, images.train, place)
            run = with_data(run, place, write=runtime.is_main)
            sample = _labelled_sample(run.config, place, images, runtime, index=run.index)
            if sample is not None:
                require_same_sample(run, sample)
            _train(run, images, runtime, sample)
        return run
    finally:
        runtime.close()


def _train(run: Run, images: Selection, runtime: Runtime, sample: LabelledSample | None) -> None:
    epochs = run.config.run.epochs
    passes = upright_passes(run.config) + (1 + REPORT_SHARE) * epochs
    with stage("pretrain", total=passes):
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
                sample=sample,
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
