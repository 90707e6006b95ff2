"""``quarterturn detect``: images with boxes in, a detector out."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from quarterturn.config.options import take_options_and_settings
from quarterturn.data.data_argument import locate
from quarterturn.detection.data import DetectionData, open_detection_data
from quarterturn.detection.options import SELECTIVE_SEARCH, DetectOptions
from quarterturn.detection.proposals import (
    FILE,
    Proposals,
    check_proposals,
    kept_proposals,
    read_proposals,
    write_proposals,
)
from quarterturn.detection.rehearsed_proposals import rehearsed_proposals
from quarterturn.detection.selective_search import ORIGIN, search_all
from quarterturn.detection.training import DetectorTraining
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import CheckpointError, ConfigError, DataError
from quarterturn.methods.build import check_network
from quarterturn.methods.configuration import Config, setting_names
from quarterturn.methods.detector_options import PARTS, DetectorOptions
from quarterturn.presets.voc07_detection import default_detector_preset
from quarterturn.progress import stage
from quarterturn.runs import Run, next_directory, write_items
from quarterturn.runs.closing import log_closing
from quarterturn.runs.directory import check_place
from quarterturn.runs.dry_run import rehearse
from quarterturn.runs.life_cycle import train
from quarterturn.runs.resumption import (
    place_of_data,
    require_images,
    require_kind,
    require_labels,
    with_data,
    with_machine_of,
)
from quarterturn.runs.seeds import finish_start
from quarterturn.runs.start import (
    fit_batch_size,
    new_runtime,
    resumed_runtime,
    resuming,
    starting,
)
from quarterturn.weights.start import Start, check_fits, recipe_on

logger = logging.getLogger(__name__)

PARTIAL = "proposals"
"""Folder of a run in which selective search keeps what it has done."""


def detect(
    data: Path | str,
    options: DetectOptions | None = None,
    *,
    config: Config | None = None,
    **fields: Any,
) -> Run:
    """Learn to find objects, and find those of the test images.

    Args:
        data: DATA with boxes, in the layout of PASCAL VOC.
        options: What the training begins with, its proposals, the run directory, and the preset.
        config: A whole configuration, in place of a preset. It is taken as it is, but for its
            method, which is ``detector``.
        **fields: Fields of `DetectOptions`, in place of ``options`` or of some of its values, and
            settings of the run without their groups: ``iterations=1000, scales=(480,)``.

    Returns:
        The finished run, with ``detection.json``, ``detections.npz`` and ``report.html``; with
        ``dry_run`` the run that would be made, of which nothing is written.

    Raises:
        QuarterturnError: Settings, data, proposals or disk do not allow it; the message says what
            to do.
    """
    own, settings = take_options_and_settings(
        DetectOptions, options, fields, setting_names() - {"method"}
    )
    data = str(data)
    name = own.preset or default_detector_preset(data)
    start, base = recipe_on(own.start, lambda _: name, config, settings)
    config = _checked(base.with_settings(**settings, method="detector"), own, start)
    with new_runtime(config) as runtime:
        index = None if start is None else start.index
        opened = open_detection_data(data, config.data, index=index)
        given = _given_proposals(own, config, opened)
        run = Run(
            own.out or next_directory(f"{opened.source.name}-detect"),
            locate(data),
            fit_batch_size(config, len(opened.train), runtime),
            opened.train.fingerprint(),
            "detect",
            None if start is None else start.words,
            opened.class_names,
            labels_fingerprint=opened.labels_fingerprint(),
            origin=None if start is None else start.run.provenance,
        )

        if own.dry_run:
            check_place(run.path, overwrite=own.overwrite, needed=run.needed)
            if own.proposals == SELECTIVE_SEARCH:
                most = config.method_as(DetectorOptions).max_proposals
                given = rehearsed_proposals(opened, most, config.machine.num_workers)
            rehearse(DetectorTraining.of(run, opened, given, runtime, start=start), run.path)
            return run

        def write_first(draft: Run) -> None:
            write_items(draft.path / "items.csv", opened.source, opened.train, None, {})
            if given:
                write_proposals(draft.path / FILE, given)
            if start is not None:
                start.keep(draft)

        with starting([run], runtime, opened.source, write_first, overwrite=own.overwrite):
            _train(run, opened, runtime)
        return run


def resume_detect(
    path: Path | str, *, config: Config | None = None, data: Path | str | None = None
) -> Run:
    """Continue an interrupted run from its last checkpoint, or from the beginning without one.

    Args:
        path: The run directory.
        config: The settings that the user asks for; see `with_machine_of` for what may differ.
        data: Where the run's images are now, if they have moved; kept with the run.

    Returns:
        The finished run. One that was finished before is left as it is.

    Raises:
        QuarterturnError: There is no such run, or its images, boxes, proposals or settings have
            changed.
    """
    path = Path(path)
    finish_start(path)
    run = Run.open(path)
    require_kind(run, "detect")
    run = with_machine_of(run, config)
    with resumed_runtime(run) as runtime:
        with resuming([run], runtime):
            place = place_of_data(run, data)
            opened = open_detection_data(place, run.config.data, index=run.index)
            require_images(run, opened.train, place)
            require_labels(run, opened.labels_fingerprint())
            run = with_data(run, place, write=True)
            _train(run, opened, runtime)
        return run


def _checked(config: Config, own: DetectOptions, start: Start | None) -> Config:
    """The settings of the run.

    Raises:
        ConfigError: They do not go together.
    """
    detector = config.method_as(DetectorOptions)
    if config.run.epochs != PARTS:
        raise ConfigError(
            f"--epochs is {config.run.epochs}; detect trains for --iterations, in {PARTS} parts: "
            "leave it out"
        )
    config = config.with_settings(
        epochs=PARTS if detector.iterations else 0,
        # Weights that nobody has trained are nothing to keep.
        freeze_first=detector.freeze_first and start is not None,
    )
    config.check()
    check_network(config)
    if start is not None:
        check_fits(start, config)
    if detector.detector == "fast-rcnn" and own.proposals is None:
        raise ConfigError(
            "--proposals is missing: --preset voc07-fast-rcnn classifies regions that are given; "
            "give a .npz or .mat file, or selective-search, which makes them"
        )
    if detector.detector != "fast-rcnn" and own.proposals is not None:
        raise ConfigError(
            f"--proposals {own.proposals}: {detector.detector} makes its own; leave it out"
        )
    if own.test_proposals is not None and own.proposals in (None, SELECTIVE_SEARCH):
        raise ConfigError(
            f"--test-proposals {own.test_proposals} goes with --proposals FILE.mat: leave it out"
        )
    return config


def _given_proposals(
    own: DetectOptions, config: Config, data: DetectionData
) -> dict[str, Proposals]:
    """The proposals of the run's images from the files that were given; empty for none."""
    if own.proposals in (None, SELECTIVE_SEARCH):
        return {}
    assert own.proposals is not None
    file = Path(own.proposals)
    listed = read_proposals(file, own.test_proposals, data.listed)
    return _of_images(listed, data, str(file))


def _of_images(
    proposals: dict[str, Proposals], data: DetectionData, where: str
) -> dict[str, Proposals]:
    """Those of the run's images, checked."""
    found = {}
    for split, images in (("train", data.train), ("test", data.test)):
        found[split] = proposals[split].of(images)
        check_proposals(found[split], images, f"{where}, split {split}")
    return found


def _train(run: Run, data: DetectionData, runtime: Runtime) -> None:
    """Make or read the proposals, train, test, and say where everything is."""
    proposals = {}
    options = run.config.method_as(DetectorOptions)
    is_fast = options.detector == "fast-rcnn"
    # On a processor an image takes about as long to search as to learn from, and to be tested.
    work = options.iterations * run.config.run.batch_size + len(data.test)
    if is_fast and not (run.path / FILE).exists():
        work += len(data.train) + len(data.test)
    with stage("detect", total=work):
        if is_fast:
            proposals = _proposals(run, data)
        train(DetectorTraining.of(run, data, proposals, runtime))
    log_closing(
        f"detector of {len(run.class_names):,} classes",
        {"report": run.path / "report.html", "run": run.path},
        [],
    )


def _proposals(run: Run, data: DetectionData) -> dict[str, Proposals]:
    """Those that the run keeps, or by selective search where it has none yet."""
    try:
        return _of_images(kept_proposals(run.path), data, str(run.path / FILE))
    except FileNotFoundError:
        if run.checkpoint.exists():
            raise CheckpointError(
                f"{run.path / FILE} is gone, and the run has learned from it: put it back, or "
                "begin a new run"
            ) from None
    except DataError as error:
        raise CheckpointError(
            f"{error}; put back the file that was there, or begin a new run"
        ) from error
    options, found = run.config.method_as(DetectorOptions), {}
    for split, images in (("train", data.train), ("test", data.test)):
        found[split] = search_all(
            images,
            run.path / PARTIAL / split,
            most=options.max_proposals,
            workers=run.config.machine.num_workers,
            name=f"{ORIGIN}, {split}",
            weight=len(images),
        )
    write_proposals(run.path / FILE, found)
    shutil.rmtree(run.path / PARTIAL)
    return found
