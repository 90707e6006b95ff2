"""Photos from trained weights: as they are, adapted, kept beside, and learned from scratch.

    python benchmarks/from_weights.py HOUSES --weights FILE --never-shown TEXTURES --out OUT

DATA has a folder for each class. Every split holds a fifth of each class out, which no training
sees; kNN (k = 20) and logistic regression learn from the features of the upright others, and are
tested on those held out, upright and turned at random. The other folders are split likewise, and
are shown to no training. Differences from the weights as they are are taken within a split.

Runs and features are kept in ``--out``, and an interrupted benchmark continues where it was. The
last line is JSON.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from sklearn.model_selection import train_test_split

import quarterturn as qt
from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.data.sources import open_source
from quarterturn.features.extraction import LabelledFeatures, extract_parts, random_turns
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.files import atomic_write, write_json
from quarterturn.metrics.classification import mean_and_spread
from quarterturn.pages.tables import Cell, Table
from quarterturn.probing.classifiers import linear, nearest_neighbours
from quarterturn.runs import Run

Array = NDArray[np.float32]
TURNS = 4
SHARE = 0.2
"""Of each class, to test on."""
START, ADAPTED, SCRATCH = "start", "adapted", "scratch"
SHELF = "off the shelf"
"""The start again, at the image size that it was trained at and not that of the adapted one."""


@dataclass(frozen=True)
class Options:
    """What to learn from, and how often."""

    data: tyro.conf.Positional[Path]
    """A folder of photos, with a folder for each class; pretraining does not read the classes."""
    weights: str
    """A file of weights, or timm:NAME."""
    out: Path
    """Directory of the runs, features and figures."""
    backbone: str | None = None
    """The network of the weights, where the file does not say: timm:NAME."""
    never_shown: tuple[Path, ...] = ()
    """Other folders, with a folder for each class."""
    splits: int = 5
    """Trainings, each with other photos held out."""
    epochs: int | None = None
    """Of the teacher; those of its recipe by default."""
    scratch_epochs: int = 0
    """Of learning from views without the weights; 0 leaves it out."""
    settings: str = "{}"
    """JSON of other settings of the teacher, such as '{"layer_decay": 0.7}'."""
    scratch_settings: str = "{}"
    """Likewise, of learning from scratch."""
    workers: int = 0


def main(options: Options) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[tuple[str, str, str], list[float]] = {}
    for split in range(options.splits):
        runs = trained(options, split)
        for folder in (options.data, *options.never_shown):
            images = open_source(str(folder)).train
            held = held_out(images, split)
            features = {
                name: features_of(
                    run,
                    runs[ADAPTED].config.data if name == START else run.config.data,
                    images,
                    None if name in (START, SHELF) else held,
                    options.out / "features" / kept(folder, name, split),
                    options.workers,
                )
                for name, run in runs.items()
            }
            for row, copies in rows_of(features).items():
                for column, value in scores(copies, images, held, split).items():
                    found.setdefault((folder.name, row, column), []).append(value)
            if folder == options.data:
                turns = turn_accuracy(runs[ADAPTED], features[ADAPTED]["rotation"][:, held])
                found.setdefault((folder.name, f"{ADAPTED}: rotation", "turns"), []).append(turns)
    report(found, options)


def trained(options: Options, split: int) -> dict[str, Run]:
    """The runs of a split by name, trained or resumed or read."""
    manifest = options.out / f"photos-{split}.csv"
    if not manifest.exists():
        write_manifest(options.data, manifest, split)
    start = options.out / START
    if not start.exists():
        qt.import_checkpoint(options.weights, out=start, backbone=options.backbone)
    runs = {START: Run.open(start), SHELF: Run.open(start)}
    recipes: dict[str, dict[str, Any]] = {
        ADAPTED: {
            "preset": "folder-distill",
            "start": options.weights,
            "backbone": options.backbone,
            "epochs": options.epochs,
        },
    }
    recipes[ADAPTED] |= json.loads(options.settings)
    if options.scratch_epochs:
        recipes[SCRATCH] = {"preset": "folder", "epochs": options.scratch_epochs}
        recipes[SCRATCH] |= json.loads(options.scratch_settings)
    for name, recipe in recipes.items():
        path = options.out / f"{name}-{split}"
        if (path / "config.json").exists():
            runs[name] = qt.resume(path)
        else:
            given = {key: value for key, value in recipe.items() if value is not None}
            runs[name] = qt.pretrain(
                manifest, out=path, seed=split, diagnostics=False, workers=options.workers, **given
            )
    return runs


def write_manifest(folder: Path, path: Path, split: int) -> None:
    """List the photos of a folder without their classes, some of them as the test split."""
    images = open_source(str(folder)).train
    with atomic_write(path, "w") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split"])
        for name, out in zip(images.names, held_out(images, split), strict=True):
            writer.writerow([str(folder.resolve() / name), "test" if out else "train"])


def held_out(images: ImageSet, split: int) -> NDArray[np.bool_]:
    """(N,) whether a photo is held out."""
    numbers = np.arange(len(images))
    _, out = train_test_split(numbers, test_size=SHARE, stratify=images.labels, random_state=split)
    return np.isin(numbers, out)


def kept(folder: Path, name: str, split: int) -> str:
    """The file of features; those of weights that are not trained do not depend on the split."""
    of_split = "" if name in (START, SHELF) else f"-{split}"
    return f"{folder.name}-{name}{of_split}.npz".replace(" ", "-")


def features_of(
    run: Run,
    crop: DataConfig,
    images: ImageSet,
    turned: NDArray[np.bool_] | None,
    path: Path,
    workers: int,
) -> dict[str, Array]:
    """Part to (4, N, D) by quarter turns; NaN for turned copies of what is not ``turned``."""
    if path.exists():
        with np.load(path) as file:
            return dict(file)
    model = NetworkFeatures(run.load_network())
    found: dict[str, Array] = {}
    every = np.arange(len(images))
    for turn in range(TURNS):
        needed = every if turn == 0 or turned is None else np.flatnonzero(turned)
        turns = torch.full((len(needed),), turn)
        parts = extract_parts(images.subset(needed), crop, model, turns=turns, workers=workers)
        for part, features in parts.items():
            width = features.values.shape[1]
            empty = np.full((TURNS, len(images), width), np.nan, np.float32)
            found.setdefault(part, empty)[turn, needed] = features.values
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as file:
        np.savez(file, **found)
    return found


def rows_of(features: dict[str, dict[str, Array]]) -> dict[str, Array]:
    """Each row of the table: (4, N, D) by quarter turns."""
    start = features[START]["whole"]
    mean = np.repeat(start.mean(axis=0, keepdims=True), TURNS, axis=0)
    rows = {
        SHELF: features[SHELF]["whole"],
        START: start,
        f"{START}, mean over its four turns": mean,
    }
    for name, parts in features.items():
        if name in (ADAPTED, SCRATCH):
            rows |= {f"{name}: {part}": parts[part] for part in ("invariant", "both")}
    invariant = features[ADAPTED]["invariant"]
    rows[f"{ADAPTED}: invariant, beside the {START}"] = beside(invariant, start)
    rows[f"{ADAPTED}: invariant, beside the {START}'s mean"] = beside(invariant, mean)
    return rows


def beside(one: Array, other: Array) -> Array:
    """Two features, each of length 1, side by side."""
    return np.concatenate(
        [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (one, other)], axis=-1
    )


def scores(
    copies: Array, images: ImageSet, held: NDArray[np.bool_], split: int
) -> dict[str, float]:
    """Accuracy of kNN and the linear classifier on photos held out, by column."""
    assert images.labels is not None
    labels, turns = images.labels, random_turns(len(images), split).numpy()
    learned = np.flatnonzero(~held)
    train = LabelledFeatures(copies[0, learned], learned, labels[learned])
    num_classes = int(labels.max()) + 1
    tests = {"upright": copies[0, held], "turned": copies[turns[held], held]}
    found = {}
    for classifier in (nearest_neighbours(train, (20,), num_classes), linear(train, num_classes)):
        for view, values in tests.items():
            for name, predicted in classifier.predict(values).items():
                found[f"{name} {view}"] = float((predicted == labels[held]).mean())
    return found


def turn_accuracy(run: Run, rotation: Array) -> float:
    """How often the rotation head finds the turn, over (4, n, D/2) halves of photos held out."""
    head = run.load_network().rotation_head
    with torch.no_grad():
        found = head(torch.from_numpy(rotation)).argmax(-1).numpy()  # (4, n)
    return float((found == np.arange(TURNS)[:, None]).mean())


def report(found: dict[tuple[str, str, str], list[float]], options: Options) -> None:
    """Print means over the splits, and differences from the weights as they are; keep all."""
    columns = [f"{name} {view}" for name in ("knn-20", "linear") for view in ("upright", "turned")]
    cells = []
    for (folder, row, column), values in found.items():
        cell = {"data": folder, "row": row, "column": column, "values": values}
        if (before := found.get((folder, START, column))) and row != START:
            cell["difference"] = mean_and_spread(list(np.subtract(values, before)))
        cells.append({**cell, **mean_and_spread(values)})
    for folder in dict.fromkeys(cell["data"] for cell in cells):
        rows: dict[str, dict[str, Cell]] = {}
        for cell in (cell for cell in cells if cell["data"] == folder):
            spread = "" if cell["spread"] is None else f" ± {100 * cell['spread']:.1f}"
            less = f" ({100 * cell['difference']['mean']:+.1f})" if "difference" in cell else ""
            rows.setdefault(cell["row"], {})[cell["column"]] = (
                f"{100 * cell['mean']:.1f}{spread}{less}"
            )
        shown = [*columns, *(["turns"] if folder == options.data.name else [])]
        table = Table(
            title=f"{folder}, {options.splits} splits",
            columns=["features", *shown],
            rows=[[row, *(values.get(column) for column in shown)] for row, values in rows.items()],
            note="brackets: the mean difference from the start within a split",
        )
        Console(width=150).print(table)
    settings = {name: str(value) for name, value in vars(options).items() if name != "out"}
    figures = {"settings": settings, "torch": torch.__version__, "cells": cells}
    write_json(options.out / "from_weights.json", figures)
    print(json.dumps(figures))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
