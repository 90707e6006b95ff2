"""``quarterturn finetune``: labelled images in, a classifier out."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from quarterturn.classifying.options import FinetuneOptions
from quarterturn.classifying.rehearsal import rehearse_classifier
from quarterturn.classifying.results import summarise_seeds, write_image_list
from quarterturn.classifying.solved_classifier import is_solved, with_solver
from quarterturn.classifying.training import REPORT_SHARE, ClassifierTraining
from quarterturn.config.options import take_options_and_settings
from quarterturn.config.validation import flag
from quarterturn.data.data_argument import locate
from quarterturn.data.labelled import LabelledData
from quarterturn.data.train_test_split import TrainTestSplit, open_training_data
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError
from quarterturn.methods.build import check_network
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.configuration import Config, setting_names
from quarterturn.presets import (
    FOLDED,
    classifier_preset_with_start,
    default_classifier_preset,
)
from quarterturn.progress import stage
from quarterturn.runs import (
    RESULTS,
    Run,
    next_directory,
    prepare_seeds,
    seed_places,
)
from quarterturn.runs.closing import files_of_runs, log_closing
from quarterturn.runs.directory import check_place
from quarterturn.runs.lengthening import keep_length
from quarterturn.runs.life_cycle import train
from quarterturn.runs.resumption import (
    place_of_data,
    require_images,
    require_labels,
    runs_to_resume,
    with_data,
)
from quarterturn.runs.seeds import check_seeds
from quarterturn.runs.start import (
    fit_batch_size,
    new_runtime,
    resumed_runtime,
    resuming,
    starting,
)
from quarterturn.weights.start import Start, check_fits, recipe_on

logger = logging.getLogger(__name__)


def finetune(
    data: Path | str,
    options: FinetuneOptions | None = None,
    *,
    config: Config | None = None,
    **fields: Any,
) -> list[Run]:
    """Learn a classifier from labelled images.

    It is tested on the data's test split every few epochs, or on a stratified part that the seed
    holds out; the figures that count are those of the last epoch.

    Args:
        data: DATA with labels.
        options: What the training begins with, how many there are, the run directory, and the
            preset, which shows images as the run it begins with saw them, unless settings say
            otherwise. Several trainings get folders ``seed-<n>`` in ``out``, and their mean and
            spread are written beside them.
        config: A whole configuration, in place of a preset. It is taken as it is, but for its
            method, which is ``classifier``.
        **fields: Fields of `FinetuneOptions`, in place of ``options`` or of some of its values,
            and settings of the run without their groups: ``epochs=3, loss="ldam"``.

    Returns:
        The finished runs, one for each seed, each with ``results.json`` and ``report.html``; with
        ``dry_run`` the runs that would be made, of which nothing is written.

    Raises:
        QuarterturnError: Settings, data or disk do not allow it; the message says what to do.
    """
    own, settings = take_options_and_settings(
        FinetuneOptions, options, fields, setting_names() - {"method"}
    )
    data = str(data)

    def recipe(start: Config | None) -> str:
        if own.preset is not None:
            return own.preset
        if start is None:
            return default_classifier_preset(data)
        return classifier_preset_with_start(start)

    pretrained, base = recipe_on(own.start, recipe, config, settings)
    config = base.with_settings(**settings, method="classifier")
    config.check()
    check_network(config)
    if pretrained is not None:
        check_fits(pretrained, config)
    _check_rescale(pretrained, config)
    _check_init(pretrained, config)
    with new_runtime(config) as runtime:
        index = None if pretrained is None else pretrained.index
        split = _open(data, config, runtime, index)
        config = _solved_or_trained(
            _with_loss_for(split, config, data), split, own, epochs_given="epochs" in settings
        )
        path = own.out or next_directory(f"{split.source.name}-finetune")
        path = runtime.gather_objects(path)[0]  # one directory, chosen by the first process
        runs: list[Run] = []
        # All are made before the first is trained, so that --resume knows how many there are.
        for seed, place in seed_places(path, config.run.seed, own.seeds).items():
            seeded = config.with_settings(seed=seed)
            train = _examples(split, seeded).train
            run = Run(
                place,
                locate(data),
                fit_batch_size(seeded, len(train), runtime),
                train.fingerprint(),
                "finetune",
                None if pretrained is None else pretrained.words,
                tuple(train.class_names),
                labels_fingerprint=split.labels_fingerprint(),
                origin=None if pretrained is None else pretrained.run.provenance,
            )
            runs.append(run)
        if own.dry_run:
            check = check_place if own.seeds == 1 else check_seeds
            check(path, overwrite=own.overwrite, needed=runs[0].needed)
            network = None if pretrained is None else pretrained.network
            examples = _examples(split, runs[0].config)
            rehearse_classifier(
                ClassifierTraining.of(runs[0], examples, runtime, start=network),
                path,
                trainings=own.seeds,
            )
            return runs
        if runtime.is_main and own.seeds > 1:
            prepare_seeds(path, overwrite=own.overwrite, needed=runs[0].needed)

        def write_first(draft: Run) -> None:
            write_image_list(draft, _examples(split, draft.config), {})
            if pretrained is not None:
                pretrained.keep(draft)

        with starting(runs, runtime, split.source, write_first, overwrite=own.overwrite):
            _train_all(path, runs, split, runtime)
        return runs


def resume_finetune(
    path: Path | str, *, config: Config | None = None, data: Path | str | None = None
) -> list[Run]:
    """Continue interrupted runs from their last checkpoints, or from the beginning without one.

    Args:
        path: The run directory, or that of several seeds: all of them are finished, and their mean
            and spread written.
        config: The settings that the user asks for, with the first seed; see
            `with_machine_of` for what may differ.
        data: Where the runs' images are now, if they have moved; kept with the runs.

    Returns:
        The finished runs, one for each seed. A run that was finished before is left as it is.

    Raises:
        QuarterturnError: There is no such run, its images or labels have changed, or so have
            settings.
    """
    path = Path(path)
    runs = runs_to_resume(path, "finetune", config)
    run = runs[0]
    with resumed_runtime(run) as runtime:
        with resuming(runs, runtime):
            place = place_of_data(run, data)
            split = _open(place, run.config, runtime, run.index)
            for run in runs:
                require_images(run, _examples(split, run.config).train, place)
                require_labels(run, split.labels_fingerprint())
            runs = [with_data(run, place, write=runtime.is_main) for run in runs]
            if runtime.is_main:
                keep_length(path, runs)
            runtime.barrier()
            _train_all(path, runs, split, runtime)
        return runs


def _train_all(path: Path, runs: list[Run], split: LabelledData, runtime: Runtime) -> None:
    """Train each run, and write the summary of several beside them."""
    with stage("finetune", total=(1 + REPORT_SHARE) * len(runs)):
        for run in runs:
            train(ClassifierTraining.of(run, _examples(split, run.config), runtime))
    if runs[0].path != path and runtime.is_main:
        summarise_seeds(path, runs)
    first = runs[0]
    log_closing(
        f"classifier of {len(first.class_names):,} classes"
        + ("" if len(runs) == 1 else f", {len(runs)} seeds"),
        files_of_runs(path, [run.path for run in runs], RESULTS),
        [
            ("predict", first.path, first.data, "--out", first.path / "labels.csv"),
            ("probe", first.path, first.data),
            ("compare", *(run.path for run in runs)),
        ],
    )


def _open(data: str, config: Config, runtime: Runtime, index: Path | None) -> LabelledData:
    download = config.machine.download
    with runtime.main_first(download):
        return open_training_data(
            data,
            config.data,
            leave_out_unknown=config.method_as(ClassifierOptions).leave_out_empty,
            download=download and runtime.is_main,
            index=index,
        )


def _check_rescale(pretrained: Start | None, config: Config) -> None:
    """Refuse to rescale what is not folded."""
    if config.method_as(ClassifierOptions).rescale == "none":
        return
    found = None if pretrained is None else pretrained.run.config.model.backbone
    if found is None or FOLDED.get(config.model.backbone) != found:
        raise ConfigError(
            "--rescale unit scales an AlexNet whose batch norm is folded: give --from RUN of "
            f"alexnet, and one of the presets voc07-...; found {found or 'no --from'} and "
            f"--backbone {config.model.backbone}"
        )


def _check_init(pretrained: Start | None, config: Config) -> None:
    """Refuse to begin with a classifier of features that nothing has trained."""
    if pretrained is None and config.method_as(ClassifierOptions).classifier_init == "solved":
        raise ConfigError(
            "--classifier-init solved begins with a classifier of trained features: give --from"
        )


def _with_loss_for(split: LabelledData, config: Config, data: str) -> Config:
    """The configuration with a sigmoid per class, where images have several labels each.

    Raises:
        ConfigError: A setting is only for images with one label each, or only for several.
    """
    options = config.method_as(ClassifierOptions)
    if not split.has_several_labels:
        if options.has_several_labels:
            raise ConfigError(
                f"--loss sigmoid is for images with several labels each, and {data} has one label "
                "per image: leave it out, and it is cross-entropy"
            )
        return config
    plain = replace(ClassifierOptions(), loss=options.loss)
    refused = {
        "loss": options.loss not in ("cross-entropy", "sigmoid"),
        **{
            name: getattr(options, name) != getattr(plain, name)
            for name in (
                *("reweight", "resample", "post_hoc_adjustment", "leave_out_empty"),
                "per_class",
            )
        },
    }
    for name, is_refused in refused.items():
        if is_refused:
            raise ConfigError(
                f"{flag(name)} {getattr(options, name)} is for images with one label each, and "
                f"{data} has several per image: leave it out"
            )
    if options.classifier_init == "solved":
        config = config.with_settings(classifier_init="uniform")
    return config.with_settings(loss="sigmoid")


def _solved_or_trained(
    config: Config, split: LabelledData, own: FinetuneOptions, *, epochs_given: bool
) -> Config:
    """The configuration with what ``--solver`` comes to; says what that makes of ``--epochs``."""
    seeds = range(config.run.seed, config.run.seed + own.seeds)
    counts = [_examples(split, config.with_settings(seed=seed)).class_counts for seed in seeds]
    found = with_solver(config, counts, has_start=own.start is not None)
    if is_solved(found) and epochs_given and config.run.epochs:
        logger.warning(
            f"--epochs {config.run.epochs} has no effect: the classifier is solved exactly, in no "
            "epochs; --solver steps trains it"
        )
    return found


def _examples(split: LabelledData, config: Config) -> TrainTestSplit:
    options = config.method_as(ClassifierOptions)
    return TrainTestSplit.of(
        split,
        config.run.seed,
        leave_out_empty=options.leave_out_empty,
        per_class=options.per_class,
    )
