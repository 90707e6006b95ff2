"""``quarterturn upright``: which images have an "up", told by networks that have not seen them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from quarterturn.config import NoiseAwareConfig
from quarterturn.config.options import take_options, take_options_and_settings
from quarterturn.data.data_argument import locate
from quarterturn.data.selection import Selection
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError, DataError
from quarterturn.methods.build import check_network
from quarterturn.methods.configuration import Config, setting_names
from quarterturn.methods.rotation_head_options import RotationHeadOptions
from quarterturn.methods.rotnet_options import RotNetOptions
from quarterturn.orientation.ablation import Variant, gather_table, list_variants
from quarterturn.orientation.fitted_heads import fit_heads
from quarterturn.orientation.folds import require_enough
from quarterturn.orientation.networks import cross_fit
from quarterturn.orientation.options import UprightOptions
from quarterturn.orientation.rehearsal import rehearse_folds, rehearse_heads
from quarterturn.orientation.scores_csv import write_scores
from quarterturn.orientation.upright_findings import store_findings
from quarterturn.orientation.upright_table import FILE, UprightTable, write_dat
from quarterturn.pages.report import refresh_report
from quarterturn.pages.tables import Table, show
from quarterturn.presets import upright_recipe
from quarterturn.progress import stage
from quarterturn.runs import Run, next_directory, write_items
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.directory import check_place
from quarterturn.runs.resumption import (
    place_of_data,
    require_images,
    require_kind,
    with_data,
    with_machine_of,
)
from quarterturn.runs.start import new_runtime, resumed_runtime, resuming, select_for_all, starting
from quarterturn.weights.start import check_fits, open_start
from quarterturn.wording import counted

logger = logging.getLogger(__name__)

MOST_CLASSES = 20
"""Classes on the terminal; the page and summary.json have them all."""


def upright(
    data: Path | str,
    options: UprightOptions | None = None,
    *,
    config: Config | None = None,
    **fields: Any,
) -> Run:
    """Estimate, out of sample, how probably each image in each of its four turns looks upright.

    Rotation networks are trained on folds, and each image is scored by the one that has not seen it
    (Feng et al., CVPR 2019, section 3.2). With trained weights to begin with, a rotation head is
    fitted for each fold on their features, which takes seconds. Labels are not read, but to cut a
    long tail where ``long_tail`` asks, and for the mean scores of classes.

    Args:
        data: DATA; its training images are scored, what ``limit`` and ``long_tail`` leave of them.
        options: The run directory, the networks' preset, and the files to write.
        config: A whole configuration, in place of a preset. Its method is taken for ``rotnet``, or
            for a head on the weights to begin with.
        **fields: Fields of `UprightOptions`, in place of ``options`` or of some of its values,
            and settings of the run without their groups: ``epochs=3, folds=2``.

    Returns:
        The finished run, with ``upright.npz``, ``scores.csv`` and ``report.html``; with ``dry_run``
        the run that would be made, of which nothing is written.

    Raises:
        QuarterturnError: Settings, data or disk do not allow it; the message says what to do.
    """
    own, settings = take_options_and_settings(
        UprightOptions, options, fields, setting_names() - {"method"}
    )
    data = str(data)
    start = None
    if own.start is not None:
        known = settings if config is None else {**config.settings(), **settings}
        download = known.get("download", False)
        start = open_start(own.start, known.get("backbone"), download=download)
    base = config or upright_recipe(data, own.preset, None if start is None else start.run.config)
    # Of a method's settings none means anything here; the command line has none either.
    config = replace(
        base.with_settings(**settings),
        method=RotNetOptions() if start is None else RotationHeadOptions(),
        noise_aware=NoiseAwareConfig(),
    )
    config.check()
    if start is not None:
        check_fits(start, config)
    if config.run.epochs == 0:
        raise ConfigError("--epochs is 0; expected 1 or more: an untrained network tells no turn")
    check_network(config)
    with new_runtime(config) as runtime:
        images = select_for_all(data, config, runtime)
        # The copies among them are counted later; that takes longer.
        require_enough(len(images.chosen), config.upright.folds)
        path = own.out or next_directory(f"{images.source.name}-upright")
        path = runtime.gather_objects(path)[0]  # one directory, chosen by the first process
        run = Run(
            path,
            locate(data),
            config,
            images.chosen.fingerprint(),
            "upright",
            start=None if start is None else start.words,
            origin=None if start is None else start.run.provenance,
        )

        if own.dry_run:
            check_place(run.path, overwrite=own.overwrite, needed=run.needed)
            _introduce(run, images)
            if start is None:
                rehearse_folds(run, images, runtime)
            else:
                rehearse_heads(run, images, runtime, start.network)
            return run

        def write_first(draft: Run) -> None:
            if start is not None:
                start.keep(draft)

        with (
            starting([run], runtime, images.source, write_first, overwrite=own.overwrite),
            stage("upright", total=100),
        ):
            make_probabilities(run, images, runtime, format=own.format)
        _log_closing(run)
        return run


def resume_upright(
    path: Path | str,
    *,
    config: Config | None = None,
    data: Path | str | None = None,
    format: str = "npz",
) -> Run:
    """Resume an interrupted run, fold by fold; a finished one is left as it is.

    Args:
        path: The run directory.
        config: The settings that the user asks for; they may differ from the run's in the
            machine's own.
        data: Where the run's images are now, if they have moved; kept with the run.
        format: As for `upright`.

    Raises:
        QuarterturnError: There is no such run, its images have changed, or so have settings.
    """
    take_options(UprightOptions, None, {"format": format})
    run = Run.open(path)
    require_kind(run, "upright")
    run = with_machine_of(run, config)
    with resumed_runtime(run) as runtime:
        with resuming([run], runtime), stage("upright", total=100):
            place = place_of_data(run, data)
            images = select_for_all(place, run.config, runtime, index=run.index)
            require_images(run, images.chosen, place)
            run = with_data(run, place, write=runtime.is_main)
            make_probabilities(run, images, runtime, format=format)
        _log_closing(run)
        return run


def _log_closing(run: Run) -> None:
    file = run.path / FILE
    log_closing(
        "upright probabilities of every image, by networks that had not seen it",
        {
            "report": run.path / "report.html",
            "probabilities": file,
            "scores": run.path / "scores.csv",
            "run": run.path,
        },
        [
            ("orient", run.path),
            ("pretrain", run.data, "--upright", run.path),
            ("upright", "--resume", run.path, "--format", "dat"),
        ],
    )


def make_probabilities(
    run: Run,
    images: Selection,
    runtime: Runtime,
    *,
    format: str = "npz",
) -> None:
    """Cross-fit, or resume it, and write what a run of it holds."""
    if _has_table(run) and (format == "npz" or (run.path / "upright.dat").exists()):
        logger.info(f"{run.path} is finished: nothing to do")
        return
    chosen, source = images.chosen, images.source
    _introduce(run, images)
    if isinstance(run.config.method, RotationHeadOptions):
        start = run.open_start()
        assert start is not None
        outcomes = fit_heads(run, chosen, runtime, start=start.load_network())
    else:
        outcomes = cross_fit(run, chosen, runtime, source=source)
    if outcomes is None:
        return
    table = gather_table(chosen, outcomes, run.config.data)
    failed = _undecoded(table)
    source.check_failures(failed, len(chosen), run.config.data.max_bad_fraction)
    write_items(run.path / "items.csv", source, chosen, None, failed)
    write_scores(run.path / "scores.csv", chosen, table)
    if format == "dat":
        write_dat(run.path / "upright.dat", table.p_upright)
    with stage("report", weight=10):
        _conclude(run, images, table, list_variants(outcomes, run.config.data), failed)
    table.write(run.path / FILE)  # last: with it the run is finished


def _has_table(run: Run) -> bool:
    """Whether the run's probabilities are there; damaged ones are made again of the folds'."""
    file = run.path / FILE
    if not file.exists():
        return False
    try:
        UprightTable.read(file)
    except DataError:
        logger.warning(f"{file} is damaged, so it is made again of what the folds have scored")
        return False
    return True


def _conclude(
    run: Run,
    images: Selection,
    table: UprightTable,
    variants: list[Variant],
    failed: dict[str, str],
) -> None:
    """Write the summary and the report, and say what is in them."""
    found = store_findings(
        run,
        images.chosen,
        table,
        variants,
        data=images.source.summary(),
        labels_read=_labels_read(images),
    )
    refresh_report(run)
    show(found.measures)
    show(found.collection)
    if found.classes is not None:
        show(_first_classes(found.classes))
    log_unreadable(images.source.unreadable | failed, run.path / "items.csv")
    if found.warning:
        logger.warning(found.warning)


def _first_classes(classes: Table) -> Table:
    if len(classes.rows) <= MOST_CLASSES:
        return classes
    note = f"{classes.note}; the first {MOST_CLASSES} of {len(classes.rows):,} classes"
    return replace(classes, rows=classes.rows[:MOST_CLASSES], note=note)


def _labels_read(images: Selection) -> str:
    """What labels are read for, by a run that ends with the mean scores of classes."""
    read = [images.labels_read] if images.labels_read else []
    if images.chosen.labels is not None:
        read.append("labels are read for the mean scores of classes, and no network sees them")
    return "; ".join(read) or "there are no labels"


def _introduce(run: Run, images: Selection) -> None:
    config, number = run.config, len(images.chosen)
    images.source.log_summary()
    network = f"{config.model.backbone} at {config.data.image_size} px"
    if config.method.needs_start:
        what = f"{config.upright.folds} rotation heads on {run.began_with} ({network}), each fitted"
    else:
        what = f"{config.upright.folds} rotation networks ({network}), each trained for up to "
        what += counted(config.run.epochs, "epoch")
    logger.info(
        f"{what} on what its fold leaves of {number:,} images; {_labels_read(images)}; run "
        f"directory {run.path}"
    )


def _undecoded(table: UprightTable) -> dict[str, str]:
    scored = set(table.scored.tolist())
    return {name: "could not be decoded" for i, name in enumerate(table.names) if i not in scored}
