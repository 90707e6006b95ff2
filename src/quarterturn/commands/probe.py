"""``quarterturn probe``: how well simple classifiers read labels off a run's frozen features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quarterturn.data.labelled import LabelledSplit, identities, open_labelled
from quarterturn.data.selection import select_images
from quarterturn.data.sources import MIN_IMAGES, locate, short_name
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import line_printer, stderr_console, stdout_console
from quarterturn.errors import ConfigError, QuarterturnError
from quarterturn.evaluation.probe import probe_over_seeds
from quarterturn.evaluation.representation import NetworkFeatures
from quarterturn.evaluation.results import protocol_id, protocol_of, summarise
from quarterturn.evaluation.store import FeatureStore
from quarterturn.metrics import FEW, MANY
from quarterturn.report.probe_tables import groups_table, probe_table
from quarterturn.report.tables import print_table
from quarterturn.runs import Run, write_json

KINDS = {"all": ("knn", "linear"), "knn": ("knn",), "linear": ("linear",)}


def probe(
    run: Path | str,
    data: Path | str,
    *,
    train: str | None = None,
    test: str | None = None,
    kind: str = "all",
    layers: tuple[str, ...] | None = None,
    grid: int = 1,
    untrained: bool = True,
    long_tail: float | None = None,
    long_tail_kind: str = "exponential",
    limit: int | None = None,
    seed: int = 0,
    seeds: int = 3,
    many: int = MANY,
    few: int = FEW,
    device: str = "auto",
    workers: int = 2,
    download: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Probe a run's features, and those of the untrained backbone beside them.

    Features are extracted once and kept, memory-mapped, in ``RUN/features``; deleting that folder
    costs nothing but the time to make them again.

    Args:
        run: The run directory.
        data: Labelled images: DATA with sub-folders or labels. Without a split of its own, a
            stratified 20 % is held out by each seed.
        train: Other DATA to learn from, balanced or long-tailed; the test part stays that of
            ``data``, or all of it where it has none.
        test: Other DATA to test on.
        kind: ``knn``, ``linear``, or ``all``.
        layers: Layers of the backbone, by name; ``("all",)`` takes every one, and None the last.
            The last is probed by its halves, where the run has halves.
        grid: Maps are averaged over a grid of so many squares a side; 1 averages the whole map.
        untrained: Probe the untrained backbone as well, which any training has to beat. It costs as
            much again; a run of 0 epochs is one, for several to be compared with.
        long_tail: Cut the training part to a long tail first: the rarest class keeps this fraction
            of the most frequent one's images. The test part stays as it is.
        long_tail_kind: ``exponential`` or ``step``.
        limit: Use at most this many images of each part.
        seed: The first seed.
        seeds: How many seeds; they fix turns and held-out parts.
        many: Classes with more training images than this are counted as ``many``.
        few: Classes with fewer training images than this are counted as ``few``.
        device: Where to compute.
        workers: Processes that decode files.
        download: Fetch a named data set that is not there.
        quiet: Print nothing.

    Returns:
        What is written to ``RUN/probes/``: protocol, and for each representation and measure its
        mean, spread and values over the seeds. Figures of an earlier probe of the same weights by
        the same protocol are kept beside them.

    Raises:
        DataError: No labels, or test classes that training lacks.
        ConfigError: A layer that the backbone has not, or numbers that cannot work.
    """
    if seed < 0 or seeds < 1:
        raise ConfigError(f"--seed {seed} --seeds {seeds}: expected 0 or more, and 1 or more")
    if not 0 <= few <= many + 1:
        raise ConfigError(f"--few {few} --many {many}: expected 0 <= few <= many + 1")
    if limit is not None and limit < MIN_IMAGES:
        raise ConfigError(f"--limit is {limit}; expected at least {MIN_IMAGES} images")
    if kind not in KINDS:
        raise ConfigError(f"--kind is {kind!r}; expected one of {', '.join(KINDS)}")
    data = str(data)
    opened = Run.open(run)
    runtime = Runtime(device, "32-true")
    networks = {"trained": opened.load_network().to(runtime.device)}
    if untrained:
        networks["untrained"] = opened.untrained_network().to(runtime.device)
    if layers == ("all",):
        layers = networks["trained"].backbone.layers
    models = {origin: NetworkFeatures(net, layers, grid) for origin, net in networks.items()}
    split = open_labelled(
        data, test, train=train, long_tail=long_tail, long_tail_kind=long_tail_kind,
        limit=limit, max_bad_fraction=opened.config.data.max_bad_fraction, download=download,
        index=opened.index, say=None if quiet else line_printer(stderr_console()),
    )  # fmt: skip
    numbers = range(seed, seed + seeds)
    measured = {
        f"{origin}/{name}": values
        for origin, model in models.items()
        for name, values in probe_over_seeds(
            model, split, opened.config.data, numbers,
            kinds=KINDS[kind], many=many, few=few, device=runtime.device, workers=workers,
            store=FeatureStore(opened.path / "features"),
        ).items()
    }  # fmt: skip
    protocol = protocol_of(split, numbers, grid=grid, many=many, few=few)
    result = {
        "run": str(opened.path), "epochs": opened.config.run.epochs,
        "epochs_done": opened.epochs_done(), "data": data, "name": short_name(data),
        "test": split.description, "weights": models["trained"].fingerprint,
        "test_images_learned_from": _num_learned_from(opened, split, test or data, numbers),
        "protocol": protocol, "protocol_id": protocol_id(protocol),
        "figures": {name: summarise(values) for name, values in measured.items()},
    }  # fmt: skip
    path = _write(opened, result)
    if not quiet:
        for table in (probe_table(result), groups_table(result)):
            if table is not None:
                print_table(stdout_console(), table)
        stderr_console().print(f"written: {path}", highlight=False, markup=False)
    return result


def _write(run: Run, result: dict[str, Any]) -> Path:
    """Write the result, with the figures that an earlier probe has left of the same thing."""
    folder = run.path / "probes"
    folder.mkdir(exist_ok=True)
    path = folder / f"{result['name']}-{result['protocol_id']}.json"
    try:
        earlier = json.loads(path.read_text())
        if earlier["weights"] == result["weights"]:
            result = {**result, "figures": {**earlier["figures"], **result["figures"]}}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none, or what is there is of no use
    write_json(path, result)
    return path


def _num_learned_from(
    run: Run, split: LabelledSplit, data: str, seeds: Sequence[int]
) -> int | None:
    """How many test images of any seed the run has learned from; None where its data is gone."""
    if run.data is None:
        return None
    try:
        images = select_images(run.data, run.config.data, index=run.index).train
        learned = identities(images, run.data)
    except QuarterturnError:
        return None
    held = np.unique(np.concatenate([split.parts(seed)[1] for seed in seeds]))
    return len(learned & identities(split.tests.subset(held), locate(data)))
