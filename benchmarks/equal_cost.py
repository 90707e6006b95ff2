"""Methods at equal cost: the same images, network, optimizer, views through the network and probes.

Cost is counted in views of full size that pass the network, forward and backward; a small view
counts by its area. A row makes whole passes over the images, as many as come nearest to the views
asked for; the JSON has what it spent, and a warning says where that is more or less. Every row may
choose its learning rate among the same ones, by ``--choose``, on training images that it does not
learn from; the test images are not read for it.

    python benchmarks/equal_cost.py cifar10.npz --views 120000 --limit 10000 --out cost --choose
    python benchmarks/equal_cost.py cifar10.npz --views 120000 --limit 10000 --out cost

Runs are kept in ``--out`` and an interrupted benchmark continues where it was. The last line is
JSON: every cell with its values over the seeds.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from rich.console import Console

import quarterturn as qt
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.sources import open_source
from quarterturn.data.subsets import limit_images
from quarterturn.files import atomic_write, write_json
from quarterturn.methods.view_options import ViewOptions
from quarterturn.metrics.classification import mean_and_spread
from quarterturn.pages.tables import Cell, Table
from quarterturn.presets import preset
from quarterturn.runs.record_files import from_json, read_record
from quarterturn.runs.records import ProbeResult

UNTRAINED, PEER = "untrained", "lightly's SimCLR"

METHODS: dict[str, dict[str, Any]] = {
    "decoupling": {"method": "decoupling"},
    "RotNet": {"method": "rotnet"},
    "SimCLR": {"method": "simclr"},
    "SimCLR, small views": {"method": "simclr", "num_small_views": 4},
    "SimCLR, turned views": {"method": "simclr", "turned_views": True},
    "multiview": {"method": "multiview"},
    "multiview, unsplit": {
        "method": "simclr",
        "num_small_views": 4,
        "turned_views": True,
        "rotation_weight": 0.4,
    },
}
"""Rows that are trained, and their settings."""

COPIES = 4
"""Turned copies of each image that the paper's form sends through the network."""

MOST_OFF = 0.02
"""Share of the views by which a row may miss them without a warning."""

MOST_VALIDATION = 5000
"""Images that `--choose` tests on."""

COLUMNS = [(name, view) for name in ("knn-20", "linear") for view in ("upright", "turned")]


@dataclass(frozen=True)
class Options:
    """What to train at which cost, and where to keep it."""

    data: tyro.conf.Positional[str]
    """Labelled images; pretraining does not read the labels."""
    views: int
    """Views of full size that each row may spend."""
    out: Path
    """Directory of the runs and figures."""
    preset: str = "cifar10-resnet18"
    """Everything that is not set here: augmentation, optimizer, schedule."""
    backbone: str = "resnet20"
    image_size: int | None = None
    """Side of a full view; that of the preset by default."""
    limit: int | None = None
    """Learn from, and probe with, at most this many images of each part."""
    batch_views: int = 128
    """Views of full size in a step, rounded to whole images."""
    seeds: int = 3
    """Trainings of each row."""
    rows: tuple[str, ...] = (UNTRAINED, *METHODS, PEER)
    """Which rows."""
    rates: tuple[float, ...] = (0.001, 0.002, 0.004)
    """Learning rates to choose from; these are for the AdamW of the default preset."""
    choose: bool = False
    """Choose each row's learning rate by one seed on training images that it does not learn from:
    the best mean of the knn-20 figures, upright and turned, of its whole feature."""
    workers: int = 0
    device: str = "auto"
    precision: str = "auto"


def main(options: Options) -> None:
    if unknown := set(options.rows) - {UNTRAINED, PEER, *METHODS}:
        raise SystemExit(f"no rows {sorted(unknown)}; there are {[UNTRAINED, *METHODS, PEER]}")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.choose:
        choose(options)
        return
    rates = chosen_rates(options)
    trained = [row for row in options.rows if row != UNTRAINED]
    first = next((row for row in trained if row != PEER), None)
    probed_untrained = (first, 0) if UNTRAINED in options.rows else None  # once
    results = {
        row: [
            measure(row, seed, rates.get(row), options, untrained=(row, seed) == probed_untrained)
            for seed in range(options.seeds)
        ]
        for row in trained
    }
    cells = [
        cell
        for row, measured in results.items()
        for cell in cells_of(row, measured, "SimCLR" if row == PEER else "trained")
    ]
    if UNTRAINED in options.rows and first is not None:
        cells = [*cells_of(UNTRAINED, results[first], "untrained"), *cells]
    table = Table(
        title=f"{options.views:,} views each, {options.backbone}",
        columns=["row", "feature", *(f"{name} {view}" for name, view in COLUMNS)],
        rows=rows_of(cells),
        note=(
            f"means over {options.seeds} trainings, plus or minus the standard deviation over "
            "them; brackets: 95 % by the number of test images"
        ),
    )
    Console(width=150).print(table)
    spent = {row: views_spent(row, options) for row in trained if row != PEER}
    for row, views in spent.items():
        if abs(views - options.views) > MOST_OFF * options.views:
            print(f"warning: {row} spent {views:,} views, in whole passes", file=sys.stderr)
    about = {
        "views": spent,
        "settings": {name: str(value) for name, value in vars(options).items() if name != "out"},
        "rates": rates,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    figures = {**about, "cells": cells}
    write_json(options.out / "equal_cost.json", figures)
    print(json.dumps(figures))


def choose(options: Options) -> None:
    """Train every row at every rate on a part of the training images, and keep the best rates."""
    data = validation_file(options)
    table: list[list[Cell]] = []
    rates: dict[str, float] = {}
    for row in options.rows:
        if row in (UNTRAINED, PEER):
            continue  # nothing to choose; the peer's recipe is its own
        figures = {}
        for rate in options.rates:
            result = measure(row, 0, rate, options, data, options.out / "choice", kind="knn")
            whole = next(iter({"both", "whole"} & {score.part for score in result.scores}))
            scores = [result.score("trained", whole, "knn-20", v) for v in ("upright", "turned")]
            figures[rate] = float(np.mean([score.measures["top1"].mean for score in scores]))
        rates[row] = max(figures, key=lambda rate: figures[rate])
        table.append([row, *figures.values(), f"{rates[row]:g}"])
    write_json(options.out / "rates.json", rates)
    columns = ["row", *(f"rate {rate:g}" for rate in options.rates), "chosen"]
    Console(width=150).print(Table("knn-20 on images held out of training", columns, table))


def chosen_rates(options: Options) -> dict[str, float | None]:
    """What `choose` has found; the preset's own rate where it has not been asked."""
    path = options.out / "rates.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return {row: found.get(row) for row in options.rows}


def validation_file(options: Options) -> Path:
    """A data set of the images to learn from, tested on training images beyond them."""
    path = options.out / "validation.npz"
    if path.exists():
        return path
    train = open_source(options.data).train
    if not isinstance(train, ArrayImages) or train.labels is None or options.limit is None:
        raise SystemExit("--choose needs labelled images in memory and --limit, to hold out others")
    used = limit_images(train, options.limit)
    names = set(used.names)
    others = [i for i, name in enumerate(train.names) if name not in names]
    held = train.subset(np.random.default_rng(0).permutation(others)[:MOST_VALIDATION])
    assert isinstance(used, ArrayImages)
    assert isinstance(held, ArrayImages)
    with atomic_write(path) as file:
        np.savez(
            file,
            train_images=used.pixels,
            train_labels=used.labels,
            test_images=held.pixels,
            test_labels=held.labels,
        )
    return path


def measure(
    row: str,
    seed: int,
    rate: float | None,
    options: Options,
    data: Path | None = None,
    folder: Path | None = None,
    *,
    kind: Literal["all", "knn"] = "all",
    untrained: bool = False,
) -> ProbeResult:
    """Train a row once and probe it, or read what an earlier call has found."""
    name = row.replace(", ", "-").replace(" ", "-").replace("'", "").lower()
    out = (folder or options.out) / f"{name}-{seed}{f'-rate-{rate:g}' if rate else ''}"
    labelled = str(data or options.data)
    if row == PEER:
        return measure_peer(seed, labelled, out.with_suffix(".json"), options)
    kept = out / "equal_cost.json"
    if kept.exists():
        found = read_record(kept, ProbeResult)
        if not untrained or any(score.origin == "untrained" for score in found.scores):
            return found
    if (out / "config.json").exists():
        qt.resume(out)
    else:
        settings: dict[str, Any] = {
            **METHODS[row],
            "preset": options.preset,
            "backbone": options.backbone,
            "limit": options.limit,
            "seed": seed,
            "diagnostics": False,
            "workers": options.workers,
            "device": options.device,
            "precision": options.precision,
        }
        if options.image_size is not None:
            settings["image_size"] = options.image_size
        if rate is not None:
            settings["learning_rate"] = rate
        images_in_a_step = round(options.batch_views / views_of_an_image(row, options))
        settings["batch_size"] = max(2, images_in_a_step)
        settings["epochs"] = passes(row, options, labelled)
        qt.pretrain(labelled, out=out, **settings)
    found = qt.probe(
        out,
        labelled,
        kind=kind,
        limit=options.limit,
        untrained=untrained,
        device=options.device,
        seeds=1,
    )
    path = max((out / "probes").glob("*.json"), key=lambda path: path.stat().st_mtime)
    with atomic_write(kept) as file:
        file.write(path.read_bytes())
    return found


def passes(row: str, options: Options, data: str) -> int:
    """Passes over the images that come nearest to the views; at least one."""
    a_pass = views_of_an_image(row, options) * num_images(data, options)
    return max(1, round(options.views / a_pass))


def views_spent(row: str, options: Options) -> int:
    """Views of full size in the passes of a row."""
    images = passes(row, options, options.data) * num_images(options.data, options)
    return round(images * views_of_an_image(row, options))


def num_images(data: str, options: Options) -> int:
    """Images that a row learns from."""
    return len(limit_images(open_source(data).train, options.limit))


def views_of_an_image(row: str, options: Options) -> float:
    """Views of full size that one image costs a step."""
    method = preset(options.preset).with_settings(**METHODS[row]).method
    if not isinstance(method, ViewOptions):
        return float(COPIES)
    side = 64
    small = method.small_side(side) / side
    return float(method.num_views + method.num_small_views * small**2)


def measure_peer(seed: int, data: str, out: Path, options: Options) -> ProbeResult:
    """The same of lightly's SimCLR by its own recipe, in a process of its own."""
    if not out.exists():
        words = [
            data,
            *("--epochs", str(options.views / (2 * num_images(data, options)))),
            *("--views", str(options.batch_views)),
            *("--preset", options.preset),
            *("--backbone", options.backbone),
            *("--seed", str(seed)),
            *("--probe-seeds", "1"),
            *("--workers", str(options.workers)),
            *("--device", options.device),
            *("--precision", options.precision),
            *("--out", str(out)),
        ]
        if options.limit is not None:
            words += ["--limit", str(options.limit)]
        script = Path(__file__).with_name("simclr_peer.py")
        subprocess.run([sys.executable, str(script), *words], check=True)
    return from_json(json.loads(out.read_text("utf-8"))["probe"], ProbeResult)


def cells_of(row: str, results: list[ProbeResult], origin: str) -> list[dict[str, Any]]:
    """The figures of a row: one for each part of the feature, classifier and view."""
    parts = list(dict.fromkeys(s.part for s in results[0].scores if s.origin == origin))
    cells = []
    for part in parts:
        for classifier, view in COLUMNS:
            values = [
                found
                for result in results
                for score in result.scores
                if (score.origin, score.part) == (origin, part)
                and (score.classifier, score.view) == (classifier, view)
                and (found := score.measures["top1"].mean) is not None
            ]
            num_test = results[0].protocol["test_images"]
            figures = mean_and_spread(values)
            mean = float(np.mean(values))
            cells.append(
                {
                    "row": row,
                    "feature": part,
                    "classifier": classifier,
                    "view": view,
                    "values": values,
                    **figures,
                    "half_width_by_test_images": 1.96 * math.sqrt(mean * (1 - mean) / num_test),
                }
            )
    return cells


def rows_of(cells: list[dict[str, Any]]) -> list[list[Cell]]:
    """Cells as the rows of a table."""
    rows: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for cell in cells:
        spread = "" if cell["spread"] is None else f" ± {100 * cell['spread']:.1f}"
        words = f"{100 * cell['mean']:.1f}{spread} [{100 * cell['half_width_by_test_images']:.1f}]"
        row = rows.setdefault((cell["row"], cell["feature"]), {})
        row[cell["classifier"], cell["view"]] = words
    return [[*name, *(row.get(column) for column in COLUMNS)] for name, row in rows.items()]


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
