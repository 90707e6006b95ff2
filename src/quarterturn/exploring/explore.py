"""``quarterturn explore``: what is in a folder of photos, on one page."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from quarterturn.config.options import take_options
from quarterturn.copies.whole_pictures import whole_pictures
from quarterturn.data.content_keys import content_keys
from quarterturn.data.data_argument import DIGITS, is_there
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError, DataError
from quarterturn.exploring.exploration import Exploration, explore_survey
from quarterturn.exploring.exploration_files import FIGURES, PAGE, TABLE, exploration_folder
from quarterturn.exploring.explore_page import explore_page
from quarterturn.exploring.options import ExploreOptions
from quarterturn.exploring.survey import survey
from quarterturn.features.cache import FeatureCache
from quarterturn.files import explained, write_json
from quarterturn.methods.configuration import Config
from quarterturn.pages.exploration import write_exploration
from quarterturn.pages.tables import Table, show
from quarterturn.presets import recipe_for
from quarterturn.presets.unlabelled import demo_folder, digits
from quarterturn.pretraining.pretrain import pretrain
from quarterturn.progress import duration, stage
from quarterturn.runs import Run, next_directory
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.facts import folders_of
from quarterturn.runs.lock import locking_its_run
from quarterturn.weights.start import fits, open_start
from quarterturn.weights.timm_weights import TIMM
from quarterturn.weights.weights_as_run import as_run
from quarterturn.wording import counted

logger = logging.getLogger(__name__)

IMAGES_SEEN = 24_000
"""By the training of a folder: five minutes on two cores at the 64 px of the recipe."""
FEWEST_EPOCHS, MOST_EPOCHS = 3, 100
FIRST_COMPARED = 64
"""Images of a split that are compared first, to tell whether all are copies of one."""
NUM_FINDINGS = 6
"""Stages after the network has seen the images: small pictures, clusters, odd images, duplicates,
map, page."""
WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".pkl", ".caffemodel")
"""Endings of files of weights; every other file is DATA."""


@dataclass(frozen=True)
class Explored:
    """Where the results of an exploration are.

    Attributes:
        run: The run whose network looked at the images.
        page: ``explore.html``.
        table: ``collection.csv``, every image with what was found of it.
        figures: ``explore.json``, the figures of the page.
    """

    run: Path
    page: Path
    table: Path
    figures: Path


def explore(
    target: Path | str,
    options: ExploreOptions | None = None,
    **fields: Any,
) -> Explored:
    """Show what is in a collection: a map, clusters, duplicates, turned photos and odd ones.

    A run or a file of weights looks at its own images, or at ``data``. For a folder of photos, or
    other DATA, a small network is trained first; or, with ``start``, weights learn from the photos
    by distillation.

    Args:
        target: DATA; or a run, a file of weights, or ``timm:NAME``, whose features are then taken
            as they are.
        options: What is looked at, how it is learned, and where results go.
        **fields: Fields of `ExploreOptions`, in place of ``options`` or of some of its values.

    Returns:
        Where the page and its tables are.

    Raises:
        DataError: There are fewer than 8 images, too many that cannot be read, or only equal ones.
        ConfigError: ``out`` exists; an option does not go with what is explored.
    """
    options = take_options(ExploreOptions, options, fields)
    began_s, words = time.perf_counter(), str(target)
    if not _is_trained(words):
        _refuse_data(options, words)
        run = _learn(words, options)
        return _explore_run(run, replace(options, out=None), None, began_s)
    for name, value in [("--from", options.start), ("--epochs", options.epochs)]:
        if value is not None:
            raise ConfigError(
                f"{name} is for training on PHOTOS, and {words} is trained already: leave it out, "
                "or give the photos in its place"
            )
    _check_out(options)
    path = as_run(target, options.data, option="--data DATA", download=options.download)
    return _explore_run(path, options, options.data, began_s)


def _is_trained(words: str) -> bool:
    """Whether these are a run or weights, rather than images.

    Raises:
        DataError: There is nothing there.
    """
    path = Path(words).expanduser()
    if words.startswith(TIMM) or path.name.endswith(".pth.tar"):
        return True
    if not is_there(words) and not path.exists():
        raise DataError(
            f"nothing is at {words!r}: expected a folder of photos, other DATA, a run, a file of "
            "weights, or timm:NAME"
        )
    return (path / "config.json").is_file() or (path.is_file() and path.suffix in WEIGHTS)


def _refuse_data(options: ExploreOptions, words: str) -> None:
    if options.data is not None:
        raise ConfigError(
            f"--data {options.data} says what a run looks at, and {words} is no run: give one of "
            "them"
        )


def _learn(data: str, options: ExploreOptions) -> Path:
    """Train on the photos; returns the run."""
    source = open_source(data, **options.reading_as(Config().data))
    _refuse_copies_of_one(source)
    config = _recipe(data, len(source.train), options)
    out = options.out or next_directory(f"{source.name}-explore")
    epochs, images = counted(config.run.epochs, "epoch"), counted(len(source.train), "image")
    logger.info(
        f"training first, {epochs} of {config.method.name} on {images}; afterwards: "
        f"quarterturn explore {out}"
    )
    return pretrain(
        data, config=config, out=out, overwrite=options.overwrite, start=options.start
    ).path


def _recipe(data: str, num_images: int, options: ExploreOptions) -> Config:
    """The five-minute recipe, or that of a teacher where there are weights to begin with."""
    machine = {"workers": options.workers, "device": options.device, "download": options.download}
    reading = options.reading_as(Config().data)
    if options.start is not None:
        start = open_start(options.start, download=options.download)
        seen_at = start.run.config.data.image_size
        config = recipe_for(data, None, "distill", start.run.config)
        if not fits(start, config):  # a backbone that flattens its map has a size of its own
            config = config.with_settings(image_size=seen_at)
        epochs = options.epochs if options.epochs is not None else config.run.epochs
    else:
        config = digits() if data == DIGITS else demo_folder()
        fitting = min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(IMAGES_SEEN / num_images)))
        epochs = options.epochs if options.epochs is not None else fitting
        if num_images * FEWEST_EPOCHS > IMAGES_SEEN and options.epochs is None:
            config = config.with_settings(limit=IMAGES_SEEN // FEWEST_EPOCHS)
    return config.with_settings(epochs=epochs, seed=options.seed, **machine, **reading)


def _refuse_copies_of_one(source: Source) -> None:
    """Stop before a training of minutes where all files are copies of one.

    Raises:
        DataError: They are.
    """
    every = [images for images in source.all_splits.values() if len(images)]
    for most in (FIRST_COMPARED, None):  # the first few mostly differ
        keys = content_keys([images.subset(np.arange(len(images))[:most]) for images in every])
        if len({key for of_split in keys for key in of_split}) > 1:
            return
    raise DataError(
        f"all {source.num_indexed:,} images of {source.name} are copies of one: expected a "
        "collection of different images"
    )


@locking_its_run
def _explore_run(run: Path, options: ExploreOptions, data: str | None, began_s: float) -> Explored:
    """Look at the images of a run, or at others, and write the page."""
    opened = Run.open(run)
    reading = options.reading_as(opened.config.data)
    crop = replace(opened.config.data, **reading)
    place = opened.data_or_own(data, "--data DATA")
    results = _results(opened, options, data)
    runtime = Runtime(options.device, "32-true", single=True)
    network = opened.load_network().to(runtime.device)
    source = open_source(place, index=opened.index, min_images=1, **reading)
    source.log_summary(uses_all=True)
    num_images = sum(map(len, source.all_splits.values()))
    cache = FeatureCache(opened.path / "features")
    with stage("explore", total=2 * num_images):
        seen = survey(source, network, crop, cache, runtime, workers=options.num_workers)
        with stage("findings", weight=num_images, total=NUM_FINDINGS):
            pictures = whole_pictures(
                source, crop.max_bad_fraction, cache, workers=options.num_workers
            )
            found = explore_survey(
                seen,
                pictures,
                opened,
                crop,
                place,
                runtime,
                clusters=options.clusters,
                seed=options.seed,
            )
            found.write_csv(results.table)
            write_json(
                results.figures,
                {"run": str(opened.path), "data": place, **found.figures()},
            )
            write_exploration(results.page, explore_page(found, results.page), folders_of(opened))
    show(_table(found))
    log_unreadable(seen.unreadable, results.table)
    _log_closing(found, results, data, began_s)
    return results


def _check_out(options: ExploreOptions) -> None:
    """Refuse to write where something else is.

    Raises:
        ConfigError: The folder is a file, or holds such results already.
    """
    folder = options.out
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; expected a folder, which is made if need be")
    for path in (folder / name for name in (PAGE, TABLE, FIGURES)):
        if path.exists() and not options.overwrite:
            raise ConfigError(f"{path} exists; choose another --out, or give --overwrite")


def _results(run: Run, options: ExploreOptions, data: str | None) -> Explored:
    """The files to write, in a folder that is made.

    Raises:
        OutputError: It cannot be made.
    """
    folder = options.out or exploration_folder(run, data)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return Explored(run.path, *(folder / name for name in (PAGE, TABLE, FIGURES)))


def _table(found: Exploration) -> Table:
    """What was found, for the terminal."""
    turned = "-" if found.turns is None else f"{len(found.turns.turned()):,}"
    copies = sum(len(group) - 1 for group in found.groups)
    rows: list[list[Any]] = [
        ["images", f"{len(found.survey):,}"],
        ["clusters", f"{len(found.kinds)}"],
        ["largest cluster", f"{int(found.kinds.sizes[0]):,}"],
        ["smallest cluster", f"{int(found.kinds.sizes[-1]):,}"],
        ["groups of duplicates", f"{len(found.groups):,}"],
        ["images beyond one of each", f"{copies:,}"],
        ["probably stored turned", turned],
        ["oddest image", found.survey.names[int(found.oddest()[0])]],
    ]
    return Table(f"What is in {found.survey.source.name}", ["found", ""], rows)


def _log_closing(found: Exploration, results: Explored, data: str | None, began_s: float) -> None:
    name = found.survey.names[0]
    collection = [] if data is None else ["--data", data]
    turned = found.turns is not None and len(found.turns.turned()) > 0
    review = [("orient", results.run, *([] if data is None else [data]))] if turned else []
    log_closing(
        f"{len(found.survey):,} images explored in {duration(time.perf_counter() - began_s)}",
        {"page": results.page, "every image": results.table, "figures": results.figures},
        [
            *review,
            ("neighbors", results.run, name, *collection),
            ("embed", results.run, "--out", results.run / "features.npz"),
            ("label", results.run, "--suggest", 40, *collection),
        ],
    )
