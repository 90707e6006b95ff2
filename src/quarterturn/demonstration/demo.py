"""``quarterturn demo``: what the method is worth, on digits or on your own photos, in minutes."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from quarterturn.classifying.evaluation import Logits
from quarterturn.config.options import take_options
from quarterturn.data.data_argument import locate
from quarterturn.data.imageset import ImageSet
from quarterturn.data.sources import open_source
from quarterturn.demonstration.images import DemoImages, split_images
from quarterturn.demonstration.options import DemoOptions
from quarterturn.engine.loop import Training
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import DataError
from quarterturn.features.gallery import save_gallery
from quarterturn.features.network_features import NetworkFeatures, Pixels
from quarterturn.files import write_json
from quarterturn.methods.base import Method, Network
from quarterturn.methods.build import build_method, build_network
from quarterturn.methods.classifier import Classification, ClassifierNetwork
from quarterturn.methods.configuration import Config
from quarterturn.pages.report import never_fatal, refresh_report
from quarterturn.pages.tables import Table, format_cell, show
from quarterturn.presets.unlabelled import demo_folder, digits
from quarterturn.pretraining.diagnostics import collapse_warning, diagnose
from quarterturn.probing.fitted import Probe, Representation, finds_itself
from quarterturn.progress import duration, stage
from quarterturn.runs import Run, next_directory, write_items
from quarterturn.runs.closing import log_closing
from quarterturn.runs.facts import write_facts
from quarterturn.runs.life_cycle import TrainingFiles, TrainingJob, train
from quarterturn.runs.start import fit_batch_size, starting

logger = logging.getLogger(__name__)

PHOTOS = 1000
K = 20
MEASURING_SHARE = 0.1
"""Time of one row's probes, as a share of a training's."""

Cells = dict[str, float | None]
COLUMNS = [
    "kNN",
    "kNN turned",
    "linear",
    "linear turned",
    "rotation",
    "finds itself",
    "train s",
]


def demo(
    data: Path | str = "digits",
    options: DemoOptions | None = None,
    *,
    config: Config | None = None,
    **fields: Any,
) -> Run:
    """Train RotNet, instance discrimination and both decoupled on a few images, and compare them.

    Args:
        data: ``digits``, a folder, or other DATA. Only the probes and the supervised row use
            labels, where the data has them.
        options: The run directory, and how many images.
        config: Settings in place of the demo's own.
        **fields: Fields of `DemoOptions`, in place of ``options`` or of some of its values.

    Returns:
        The run, with ``results.json`` and ``report.html``.

    Raises:
        QuarterturnError: The data or the output directory do not allow it.
    """
    options = take_options(DemoOptions, options, fields)
    start, data = time.perf_counter(), str(data)
    config = (config or (digits() if data == "digits" else demo_folder())).with_settings(
        seed=options.seed
    )
    reading = options.reading_as(config.data)
    config = replace(config, data=replace(config.data, **reading))
    source = open_source(data, **reading)
    config.check()
    runtime = Runtime(config.machine.device, config.run.precision, single=True)
    images = split_images(
        source, config, options.limit if options.limit or data == "digits" else PHOTOS
    )
    if images.train.labels is not None and len(np.unique(images.train.labels)) < 2:
        raise DataError(f"all labels of {data} are the same: leave them out, or give more classes")
    source.log_summary()
    logger.info(images.description)
    config = fit_batch_size(config, len(images.train), runtime)
    path = options.out or next_directory(f"{source.name}-demo")
    run = Run(path, locate(data), config, images.train.fingerprint())
    trainings, measurings = (3, 5) if images.train.labels is None else (4, 7)
    rows: dict[str, Cells] = {}
    with (
        starting(
            [run],
            runtime,
            source,
            lambda draft: None,
            overwrite=options.overwrite,
            can_resume=False,
        ),
        stage("demo", total=trainings + MEASURING_SHARE * measurings),
    ):
        for name, cells in _measure_all(run, images, runtime):
            rows[name] = cells
            shown = [f"{c} {format_cell(v)}" for c, v in cells.items() if v and c != COLUMNS[-1]]
            logger.info(f"  {name}: {', '.join(shown)}")
    table = _table(rows, images)
    elapsed_s = time.perf_counter() - start
    write_json(
        path / "results.json", {"table": table.to_dict(), "rows": rows, "elapsed_s": elapsed_s}
    )
    write_items(path / "items.csv", source, images.train, images.test, {})
    diagnostics = run.read_metrics("diagnostics")
    warning = collapse_warning(diagnostics[-1], config.method) if diagnostics else None
    write_facts(
        run, data=[*source.summary(), images.description], warnings=[warning] if warning else []
    )
    with stage("report"):
        with never_fatal("the pictures of the page", run):
            save_gallery(run, run.load_network(), images.test)
        refresh_report(run)
    show(table)
    log_closing(
        f"methods compared in {duration(elapsed_s)}",
        {"report": run.path / "report.html", "run": path},
        [
            ("pretrain", data),
            ("neighbors", path, images.test.names[0]),
            ("export", path, "--format", "safetensors"),
        ],
    )
    return run


def _measure_all(run: Run, images: DemoImages, runtime: Runtime) -> Iterator[tuple[str, Cells]]:
    """Every row of the table: its name and its figures."""
    config = run.config

    def measure(representation: Representation, *, turn_training: bool = False) -> dict[str, Cells]:
        with stage("measures", weight=MEASURING_SHARE):
            return _measure(representation, images, config, runtime, turn_training=turn_training)

    def rows_of(network: Network, name: str, seconds: float | None) -> Iterator[tuple[str, Cells]]:
        accuracy = None
        if network.rotation_head is not None and seconds is not None:
            with stage("rotation accuracy", weight=0):  # its time is within that of the measures
                found = dict(diagnose(network, images.test, config.data, device=runtime.device))
            accuracy = found["rotation_accuracy"]
        for part, cells in measure(NetworkFeatures(network)).items():
            reads_rotation = part in ("rotation", "whole")
            cells["rotation"] = accuracy if reads_rotation else None
            cells["train s"] = seconds
            yield name if part == "whole" else f"{name}: {part}", cells

    pixels = Pixels()
    yield "raw pixels", measure(pixels)["pixels"]
    if images.train.labels is not None:
        yield "raw pixels, four turns", measure(pixels, turn_training=True)["pixels"]
    untrained = build_network(config.with_settings(method="rotnet")).to(runtime.device)
    yield from rows_of(untrained, "untrained backbone", None)
    for name, title in [("rotnet", "RotNet"), ("instance", "instance only")]:
        other = config.with_settings(method=name)
        method = build_method(other, len(images.train), device=runtime.device)
        seconds = _fit(method, other, images, runtime, title)
        yield from rows_of(method.network, title, seconds)
    method = build_method(config, len(images.train), device=runtime.device)
    seconds = _fit(method, config, images, runtime, "decoupled", run)
    yield from rows_of(method.network, "decoupled", seconds)
    if images.train.labels is not None:
        method, network = _supervised(config, len(images.train.class_names), runtime)
        seconds = _fit(method, config, images, runtime, "supervised")
        logits = measure(Logits(network))["logits"]
        yield "supervised, turned (ceiling): logits", {**logits, "train s": seconds}


def _supervised(
    config: Config, num_classes: int, runtime: Runtime
) -> tuple[Classification, ClassifierNetwork]:
    """A classifier of turned copies, and its network."""
    network = build_network(config.with_settings(method="classifier"), num_classes)
    assert isinstance(network, ClassifierNetwork)
    network = network.to(runtime.device).to(memory_format=torch.channels_last)
    return Classification(network, F.cross_entropy, turned=True), network


@dataclass(frozen=True, kw_only=True)
class DemoTraining(TrainingJob[Method]):
    """Trains one of the methods that are laid side by side.

    Attributes:
        method: What is trained.
        tests: Images for the diagnostics of the run.
        run: Gets checkpoint, metrics and diagnostics; None for a training that leaves nothing.
    """

    method: Method
    tests: ImageSet
    run: Run | None = None

    shorter = "--limit"

    def build_method(self) -> Method:
        """The method, which was built before."""
        return self.method

    @property
    def evaluate_every(self) -> int:
        """Epochs between diagnostics."""
        return 5

    def evaluate(self, training: Training[Method], epochs_done: int) -> None:
        """Diagnose the network that the run keeps."""
        if self.run is None:
            return
        device = self.runtime.device
        values = dict(diagnose(self.method.network, self.tests, self.config.data, device=device))
        training.telemetry.record(
            "diagnostics", step=training.step - 1, epoch=epochs_done, **values
        )


def _fit(
    method: Method,
    config: Config,
    images: DemoImages,
    runtime: Runtime,
    title: str,
    run: Run | None = None,
) -> float:
    """Train a method on the demo's images; returns the seconds it took."""
    training = train(
        DemoTraining(
            config=config,
            images=images.train,
            runtime=runtime,
            files=TrainingFiles()
            if run is None
            else TrainingFiles(run.checkpoint, run.metrics_file),
            name=title,
            method=method,
            tests=images.test,
            run=run,
        )
    )
    return training.telemetry.elapsed_s


def _measure(
    representation: Representation,
    images: DemoImages,
    config: Config,
    runtime: Runtime,
    *,
    turn_training: bool,
) -> dict[str, Cells]:
    """Part to the figures of its row."""
    found: dict[str, Cells] = {}
    itself = finds_itself(representation, images.test, config.data, device=runtime.device)
    for part, value in itself.items():
        found[part] = {"finds itself": value}
    if images.train.labels is not None:
        one = Probe(
            images.train,
            images.test,
            config.data,
            ks=(K,),
            turn_training=turn_training,
            device=runtime.device,
        )
        for name, metrics in one.run(representation):
            found[name.part][_CLASSIFIERS[name.classifier] + _VIEWS[name.view]] = metrics["top1"]
    return found


_CLASSIFIERS = {f"knn-{K}": "kNN", "linear": "linear"}
_VIEWS = {"upright": "", "turned": " turned"}


def _table(rows: dict[str, Cells], images: DemoImages) -> Table:
    columns = [c for c in COLUMNS if any(cells.get(c) is not None for cells in rows.values())]
    note = f"{images.description}; one seed (n = 1). "
    if images.train.labels is not None:
        note += f"kNN (k = {K}) and linear: top-1, learned upright, tested upright and turned. "
    note += (
        "rotation: rotation accuracy on test images; finds itself: a turned test image is nearest "
        "to its own upright view"
    )
    return Table(
        title="What each representation is worth",
        columns=["features", *columns],
        rows=[[name, *(cells.get(c) for c in columns)] for name, cells in rows.items()],
        note=note,
        plain=("train s",),
    )
