"""``quarterturn probe``: how well simple classifiers read labels off a run's frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.config import Config
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.selection import (
    limit_images,
    match_classes,
    select_images,
    stratified_split,
)
from quarterturn.data.sources import locate, open_source, short_name
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import stderr_console, stdout_console
from quarterturn.errors import ConfigError, DataError, QuarterturnError
from quarterturn.evaluation.features import extract
from quarterturn.evaluation.probe import Probe, Representation
from quarterturn.methods.registry import build_network
from quarterturn.report.tables import Table, print_table
from quarterturn.runs import Run, write_json

TEST_FRACTION = 0.2


def probe(
    run: Path | str,
    data: Path | str,
    *,
    test: str | None = None,
    kind: str = "all",
    limit: int | None = None,
    seed: int = 0,
    seeds: int = 3,
    device: str = "auto",
    workers: int = 2,
    download: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Probe a run's features, beside those of the untrained backbone.

    Args:
        run: The run directory.
        data: Labelled images: DATA with sub-folders or labels. Without a split of its own, a
            stratified 20 % is held out by each seed.
        test: Other DATA to test on.
        kind: ``knn``, ``linear``, or ``all``.
        limit: Use at most this many images of each part.
        seed: The first seed.
        seeds: How many seeds; they fix turns and held-out parts.
        device: Where to compute.
        workers: Processes that decode files.
        download: Fetch a named data set that is not there.
        quiet: Print nothing.

    Returns:
        What is written to ``RUN/probes/``: protocol, and for each representation and measure its
        mean, spread and values over the seeds.

    Raises:
        DataError: No labels, or test classes that training lacks.
    """
    if seed < 0 or seeds < 1:
        raise ConfigError(f"--seed {seed} --seeds {seeds}: expected 0 or more, and 1 or more")
    data = str(data)
    opened = Run.open(run)
    runtime = Runtime(device, "32-true")
    network = opened.load_network().to(runtime.device)
    untrained = build_network(opened.config).to(runtime.device)
    split = _open(data, test, limit, opened.config, download)
    kinds = ("knn", "linear") if kind == "all" else (kind,)
    measured: dict[str, list[dict[str, Any]]] = {}
    for origin, model in [("trained", network), ("untrained", untrained)]:
        representation = Representation.of_network(model)
        look = partial(
            extract,
            crop=opened.config.data, model=representation.model,
            device=runtime.device, workers=workers,
        )  # fmt: skip
        # What does not depend on the seed is extracted once.
        all_known = look(split.train)
        all_tests = all_known if split.test is None else look(split.test)
        for number in range(seed, seed + seeds):
            train, held = split.parts(number)
            one = Probe(
                split.train.subset(train), split.tests.subset(held), opened.config.data,
                kinds=kinds, seed=number, device=runtime.device, workers=workers,
            )  # fmt: skip
            known, upright = all_known.of(train), all_tests.of(held)
            for name, value in one.compare(representation, known, upright):
                measured.setdefault(f"{origin}/{name}", []).append(value)
    learned = _identities_learned(opened)
    tested = _identities(split.tests.subset(held), locate(test or data))
    result = {
        "protocol": {
            "run": str(opened.path), "data": data, "test": split.description,
            "training_images": len(train), "test_images": len(held), "kinds": list(kinds),
            "epochs": opened.config.run.epochs, "seeds": list(range(seed, seed + seeds)),
            "test_images_learned_from": None if learned is None else len(learned & tested),
        },
        "figures": {name: summarise(values) for name, values in measured.items()},
    }  # fmt: skip
    folder = opened.path / "probes"
    folder.mkdir(exist_ok=True)
    path = folder / f"{short_name(data)}-{kind}.json"
    write_json(path, result)
    if not quiet:
        print_table(stdout_console(), probe_table(result))
        stderr_console().print(f"written: {path}", highlight=False, markup=False)
    return result


def summarise(values: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean, spread (standard deviation) and n over seeds of top-1 and balanced accuracy."""
    summary: dict[str, Any] = {"n": len(values), "by_seed": values}
    for measure in ("top1", "balanced", "worst_class"):
        figures = [value[measure] for value in values]
        spread = float(np.std(figures, ddof=1)) if len(figures) > 1 else None
        summary[measure] = {"mean": float(np.mean(figures)), "spread": spread}
    return summary


def probe_table(result: dict[str, Any]) -> Table:
    """Representations by classifiers and views, top-1 with balanced accuracy beside it."""
    figures, protocol = result["figures"], result["protocol"]
    columns = list(dict.fromkeys(name.split("/", 2)[2] for name in figures))
    rows: list[list[str | float | None]] = []
    for row in dict.fromkeys(tuple(name.split("/", 2)[:2]) for name in figures):
        origin, part = row
        cells: list[str | float | None] = [f"{origin}: {part}"]
        for column in columns:
            found = figures[f"{origin}/{part}/{column}"]
            cells.append(_cell(found["top1"], found["balanced"]))
        rows.append(cells)
    note = (
        f"top-1 (balanced) accuracy in %; {protocol['training_images']:,} upright training images; "
        f"{protocol['test_images']:,} test images: {protocol['test']}; "
        f"n = {len(protocol['seeds'])} seeds"
    )
    learned = protocol["test_images_learned_from"]
    if learned is None:
        note += "; whether the run has learned from them is not known, its data is gone"
    elif learned:
        note += f"; the run has learned from {learned:,} of the test images, without labels"
    return Table(
        "Probes on frozen features",
        ["features", *(c.replace("/upright", "").replace("/", " ") for c in columns)],
        rows,
        note=note,
    )


def _cell(top1: dict[str, Any], balanced: dict[str, Any]) -> str:
    spread = "" if top1["spread"] is None else f" ± {100 * top1['spread']:.1f}"
    return f"{100 * top1['mean']:.1f}{spread} ({100 * balanced['mean']:.1f})"


@dataclass(frozen=True)
class _Split:
    """Labelled images, with a test part of their own or to be parted by seed."""

    train: ImageSet
    test: ImageSet | None
    description: str

    @property
    def tests(self) -> ImageSet:
        """The images that test images are taken from."""
        return self.train if self.test is None else self.test

    def parts(self, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Numbers of the training and of the test images."""
        if self.test is not None:
            return np.arange(len(self.train)), np.arange(len(self.test))
        assert self.train.labels is not None
        train, test = stratified_split(self.train.labels, TEST_FRACTION, seed)
        if len(test) == 0:
            raise DataError(
                f"{len(self.train)} images are too few to hold out {TEST_FRACTION:.0%} of each "
                "class; give --test DATA"
            )
        return train, test


def _open(data: str, test: str | None, limit: int | None, config: Config, download: bool) -> _Split:
    most_bad = config.data.max_bad_fraction
    source = open_source(data, max_bad_fraction=most_bad, download=download)
    train = limit_images(_labelled(source.train, data), limit)
    other, description = source.test, f"the split {source.test_name!r}"
    if test is not None:
        other, description = open_source(test, download=download).train, test
    if other is None:
        description = f"a stratified {TEST_FRACTION:.0%} held out by seed"
    else:
        other = limit_images(match_classes(_labelled(other, description), train), limit)
    return _Split(train, other, description)


def _labelled(images: ImageSet, data: str) -> ImageSet:
    if images.labels is None:
        raise DataError(
            f"{data} has no labels to probe with: expected a sub-folder for each class, or labels "
            "in the .npz or .csv file"
        )
    if len(np.unique(images.labels)) < 2:
        raise DataError(f"{data} has images of one class alone: there is nothing to tell apart")
    return images


def _identities_learned(run: Run) -> set[str] | None:
    """What the run has learned from; None where its data cannot be read any more."""
    try:
        return _identities(select_images(run.data, run.config.data).train, run.data)
    except QuarterturnError:
        return None


def _identities(images: ImageSet, data: str) -> set[str]:
    """A word for each image that is the same wherever the image turns up."""
    if isinstance(images, FileImages):
        return {str(images.path(i).resolve()) for i in range(len(images))}
    return {f"{data}:{name}" for name in images.names}
