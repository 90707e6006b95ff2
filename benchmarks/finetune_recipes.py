"""Few labels, or a long tail: from scratch, solved on frozen features, and fine-tuned.

    python benchmarks/finetune_recipes.py DATA --from RUN --per-class 50 --out OUT --choose
    python benchmarks/finetune_recipes.py DATA --from RUN --per-class 50 --out OUT

``--choose`` compares recipes of the fine-tuning by learning from a part of the training images, and
testing on others of them; the test images are not read for it. DATA is a ``.npz`` file, or a folder
of photos with a folder for each class, of which a fifth is held out to test on. Trainings are kept
in ``--out``, and an interrupted benchmark continues where it was. The last line is JSON.
"""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from sklearn.model_selection import train_test_split

import quarterturn as qt
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.sources import open_source
from quarterturn.files import atomic_write, write_json
from quarterturn.metrics.classification import mean_and_spread
from quarterturn.pages.tables import Table
from quarterturn.runs.classifier_results import read_classifier_result

SHARE = 0.2
"""Held out of each class to test on, or of the rest to choose by."""
MOST_VALIDATION = 2000
"""Images that recipes are chosen by."""

FROZEN = "solved on frozen features"

Settings = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What to learn, from what, and how often."""

    data: tyro.conf.Positional[Path]
    """Images with labels."""
    start: Annotated[str, tyro.conf.arg(name="from")]
    """A run, or a file of weights."""
    out: Path
    """Directory of the trainings and figures."""
    per_class: int | None = None
    """Images of each class to learn from; all by default."""
    scratch_preset: str | None = None
    """Recipe of the training from scratch; by default the one that fits DATA."""
    scratch_epochs: int | None = None
    """Of the training from scratch; those of its recipe by default."""
    epochs: int | None = None
    """Of fine-tuning; those of its recipe by default."""
    seeds: int = 3
    """Trainings of each row, each from images drawn anew."""
    choose: bool = False
    """Compare recipes of the fine-tuning on images held out of the training images."""
    rates: tuple[float, ...] = (1e-3, 3e-4, 1e-4)
    """Learning rates to choose from."""
    layer_decays: tuple[float, ...] = (1.0, 0.6)
    """Likewise, what each stage learns at of the rate of the next."""
    frozen_statistics: tuple[bool, ...] = (False, True)
    """Likewise, whether batch norm keeps its statistics."""
    beginnings: tuple[str, ...] = ("solved", "uniform")
    """Likewise, how the classifier begins."""
    settings: str = "{}"
    """JSON of settings of every row, such as '{"loss": "ldam", "reweight": "drw"}'."""
    workers: int = 0


def main(options: Options) -> None:
    options.out.mkdir(parents=True, exist_ok=True)
    data = choice_data(options) if options.choose else test_data(options)
    rows = candidates(options) if options.choose else compared(options)
    results = {
        row: [measure(row, settings, seed, data, options) for seed in range(options.seeds)]
        for row, settings in rows.items()
    }
    table = Table(
        title="on training images held out" if options.choose else "on test images",
        columns=["recipe", "top-1", *(f"seed {seed}" for seed in range(options.seeds))],
        rows=[
            [row, words(values), *(f"{100 * value:.1f}" for value in values)]
            for row, values in results.items()
        ],
    )
    Console(width=150).print(table)
    settings = {name: str(value) for name, value in vars(options).items() if name != "out"}
    figures = {"settings": settings, "torch": torch.__version__, "top-1": results}
    write_json(options.out / ("choice.json" if options.choose else "finetune.json"), figures)
    print(json.dumps(figures))


def words(values: list[float]) -> str:
    figures = mean_and_spread(list(values))
    spread = "" if figures["spread"] is None else f" ± {100 * figures['spread']:.1f}"
    return f"{100 * float(np.mean(values)):.1f}{spread}"


def compared(options: Options) -> dict[str, Settings]:
    """The rows of the table."""
    tuned = {} if options.epochs is None else {"epochs": options.epochs}
    scratch = {} if options.scratch_epochs is None else {"epochs": options.scratch_epochs}
    return {
        FROZEN: {"trained": "none", "solver": "exact"},
        "fine-tuned": tuned,
        "from scratch": {"scratch": True, **scratch},
    }


def candidates(options: Options) -> dict[str, Settings]:
    """The recipes to choose from, and what they have to be better than."""
    rows = {}
    for rate, decay, frozen, beginning in itertools.product(
        options.rates, options.layer_decays, options.frozen_statistics, options.beginnings
    ):
        settings = {
            "learning_rate": rate,
            "layer_decay": decay,
            "frozen_statistics": frozen,
            "classifier_init": beginning,
        }
        if options.epochs is not None:
            settings["epochs"] = options.epochs
        statistics = "kept" if frozen else "batches'"
        rows[f"rate {rate:g}, decay {decay:g}, statistics {statistics}, {beginning}"] = settings
    return {**rows, FROZEN: compared(options)[FROZEN]}


def measure(row: str, settings: Settings, seed: int, data: Path, options: Options) -> float:
    """Top-1 of one training at its last epoch, trained or read."""
    kind = "choice" if options.choose else "test"
    name = "-".join(row.replace(",", "").replace("'", "").split())
    out = options.out / kind / f"{name}-{seed}"
    kept = out.with_name(f"{out.name}.json")
    if kept.exists():
        return float(json.loads(kept.read_text("utf-8")))
    common: Settings = {
        "out": out,
        "seed": seed,
        "diagnostics": False,
        "workers": options.workers,
        "overwrite": True,
    }
    if options.per_class is not None:
        common["per_class"] = options.per_class
    own = dict(settings)
    if own.pop("scratch", False):
        common |= scratch_settings(options)
    else:
        common["start"] = options.start
    qt.finetune(data, **{**common, **json.loads(options.settings), **own})
    top1 = read_classifier_result(out).figures["top1"]
    shutil.rmtree(out)
    with atomic_write(kept, "w") as file:
        json.dump(top1, file)
    return float(top1)


def scratch_settings(options: Options) -> Settings:
    """The network and the view of the start, for a training without it."""
    config = qt.Run.open(options.start).config
    own = {} if options.scratch_preset is None else {"preset": options.scratch_preset}
    return {
        **own,
        "backbone": config.model.backbone,
        "image_size": config.data.image_size,
        "eval_crop": config.data.eval_crop,
        "mean": config.data.mean,
        "std": config.data.std,
    }


def test_data(options: Options) -> Path:
    """Images to learn from, and others to test on."""
    return (
        options.data if options.data.suffix == ".npz" else manifest(options, "test", choose=False)
    )


def choice_data(options: Options) -> Path:
    """The same, of training images only."""
    if options.data.suffix != ".npz":
        return manifest(options, "choice", choose=True)
    path = options.out / "choice.npz"
    if not path.exists():
        train = open_source(str(options.data)).train
        assert isinstance(train, ArrayImages)
        learned, held = parted(np.arange(len(train)), train, MOST_VALIDATION, seed=1)
        arrays = {}
        for split, rows in (("train", learned), ("test", held)):
            arrays[f"{split}_images"] = train.pixels[rows]
            arrays[f"{split}_labels"] = labels_of(train)[rows]
        with atomic_write(path) as file:
            np.savez(file, **arrays)
    return path


def manifest(options: Options, name: str, *, choose: bool) -> Path:
    """A list of photos with their classes; with a fifth to test on, or a fifth of the others."""
    path = options.out / f"{name}.csv"
    if path.exists():
        return path
    images = open_source(str(options.data)).train
    learned, held = parted(np.arange(len(images)), images, SHARE, seed=0)
    if choose:
        learned, held = parted(learned, images, SHARE, seed=1)
    with atomic_write(path, "w") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for split, rows in (("train", learned), ("test", held)):
            for row in rows:
                photo = str(options.data.resolve() / images.names[row])
                writer.writerow([photo, images.class_names[labels_of(images)[row]], split])
    return path


def parted(
    rows: NDArray[np.int64], images: ImageSet, held: float, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from, and stratified others, a share or a number of them."""
    classes = labels_of(images)[rows]
    learned, out = train_test_split(rows, test_size=held, stratify=classes, random_state=seed)
    return np.sort(learned), np.sort(out)


def labels_of(images: ImageSet) -> NDArray[np.int64]:
    assert images.labels is not None
    return images.labels


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
