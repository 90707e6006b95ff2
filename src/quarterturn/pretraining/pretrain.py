"""``quarterturn pretrain``: unlabelled images in, a backbone out."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from quarterturn.config.options import take_options_and_settings
from quarterturn.config.time_budget import AUTO, NONE
from quarterturn.data.data_argument import locate
from quarterturn.data.selection import Selection
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError, DataError
from quarterturn.methods.build import check_network, with_fitting_views
from quarterturn.methods.configuration import Config, setting_names
from quarterturn.orientation.folds import require_enough
from quarterturn.orientation.upright_table import agnostic_of, p_upright_of
from quarterturn.presets import fits_heads, fold_recipe, recipe_for
from quarterturn.pretraining.cached_images import data_in_cache
from quarterturn.pretraining.learning_curve import LabelledSample, require_same_sample
from quarterturn.pretraining.noise_aware import upright_file
from quarterturn.pretraining.options import PretrainOptions
from quarterturn.pretraining.rehearsal import (
    budget_of,
    ends_by_itself,
    rehearsal,
    warn_left_out,
    within,
)
from quarterturn.pretraining.seeds import train_all
from quarterturn.pretraining.training import write_image_list
from quarterturn.runs import Run, next_directory, prepare_seeds, seed_places
from quarterturn.runs.directory import check_place
from quarterturn.runs.dry_run import log_checkpoints, rehearse
from quarterturn.runs.lengthening import keep_length
from quarterturn.runs.resumption import (
    place_of_data,
    require_images,
    runs_to_resume,
    with_data,
)
from quarterturn.runs.seeds import check_seeds
from quarterturn.runs.start import (
    fit_batch_size,
    new_runtime,
    resumed_runtime,
    resuming,
    select_for_all,
    starting,
)
from quarterturn.weights.start import Start, check_fits, open_start
from quarterturn.weights.timm_weights import TIMM

logger = logging.getLogger(__name__)


@overload
def pretrain(
    data: Path | str,
    options: PretrainOptions | None = None,
    *,
    config: Config | None = None,
    seeds: int,
    **fields: Any,
) -> Run | list[Run]: ...


@overload
def pretrain(
    data: Path | str,
    options: PretrainOptions | None = None,
    *,
    config: Config | None = None,
    **fields: Any,
) -> Run: ...


def pretrain(
    data: Path | str,
    options: PretrainOptions | None = None,
    *,
    config: Config | None = None,
    **fields: Any,
) -> Run | list[Run]:
    """Learn a representation from unlabelled images.

    Args:
        data: A folder, shards, a ``.csv`` manifest, a ``.npz`` file, ``digits``, or NAME:ROOT, such
            as ``imagenet:ROOT`` or ``stl10-unlabeled:ROOT``. Labels are not read, but to cut a long
            tail where ``long_tail`` asks, and to count classes where ``counts="labels"`` does.
        options: The run directory, the preset, and how many trainings there are. Several get
            folders ``seed-<n>`` in ``out``; mean and spread of their diagnostics are beside them.
        config: A whole configuration, in place of a preset.
        **fields: Fields of `PretrainOptions`, in place of ``options`` or of some of its values,
            and settings of the run without their groups: ``epochs=3, method="rotnet"``.

    Returns:
        The finished run, or a list of them where ``seeds`` is more than one; with ``dry_run`` what
        would be made, of which nothing is written.

    Raises:
        QuarterturnError: Settings, data or disk do not allow it; the message says what to do.
    """
    own, settings = take_options_and_settings(PretrainOptions, options, fields, setting_names())
    data = str(data)
    began_s = time.perf_counter()
    start = _start(own, config, settings)
    budget = budget_of(own, config, settings)
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
        if fits_heads(recipe) and start is None:
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
    with new_runtime(config) as runtime:
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
        if budget != NONE and not (budget == AUTO and ends_by_itself(data, config, runtime)):
            config = within(budget, began_s, config, images, start, runtime, sample, own.seeds)
        path = own.out or next_directory(images.source.name)
        path = runtime.gather_objects(path)[0]  # one directory, chosen by the first process
        # All are made before the first is trained, so that --resume knows how many there are.
        runs = [
            Run(
                place,
                locate(data),
                config.with_settings(seed=seed),
                images.train.fingerprint(),
                start=None if start is None else start.words,
                origin=None if start is None else start.run.provenance,
                cache=images.source.cache,
            )
            for seed, place in seed_places(path, config.run.seed, own.seeds).items()
        ]
        made = runs[0] if own.seeds == 1 else runs

        if own.dry_run:
            check = check_place if own.seeds == 1 else check_seeds
            check(path, overwrite=own.overwrite, needed=runs[0].needed)
            warn_left_out(own, config)
            if config.run.epochs == 0:
                images.source.log_summary()
                logger.info("0 epochs: nothing is trained")
                log_checkpoints(config, len(images.train), path, trainings=own.seeds)
                return made
            job = rehearsal(config, images, start, runtime, sample)
            rehearse(replace(job, run=runs[0]), path, trainings=own.seeds)
            return made
        if runtime.is_main and own.seeds > 1:
            prepare_seeds(path, overwrite=own.overwrite, needed=runs[0].needed)

        def write_first(draft: Run) -> None:
            write_image_list(draft, images, {})
            if start is not None:
                start.keep(draft)

        with starting(runs, runtime, images.source, write_first, overwrite=own.overwrite):
            train_all(path, runs, images, runtime, sample)
        return made


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
) -> Run | list[Run]:
    """Continue an interrupted run from its last checkpoint, or from the beginning without one.

    Args:
        path: The run directory, or that of several seeds, all of which are finished.
        config: The settings that the user asks for, with the first seed; they may differ from the
            run's in the machine's own.
        data: Where the run's images are now, if they have moved; kept with the run.

    Returns:
        The finished run, or a list of those of several seeds. A run that was finished before is
        left as it is.

    Raises:
        QuarterturnError: There is no such run, its images have changed, or so have settings.
    """
    path = Path(path)
    runs = runs_to_resume(path, "pretrain", config)
    run = runs[0]
    with resumed_runtime(run) as runtime:
        with resuming(runs, runtime):
            place = place_of_data(run, data)
            images = select_for_all(place, run.config, runtime, index=run.index)
            for each in runs:
                require_images(each, images.train, place)
            runs = [with_data(each, place, write=runtime.is_main) for each in runs]
            sample = _labelled_sample(run.config, place, images, runtime, index=run.index)
            if sample is not None:
                for each in runs:
                    require_same_sample(each, sample)
            if runtime.is_main:  # last: a run of a former length cannot be had again
                keep_length(path, runs)
            runtime.barrier()
            train_all(path, runs, images, runtime, sample)
        return runs if run.path != path else runs[0]
