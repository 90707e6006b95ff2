"""``quarterturn probe``: how well simple classifiers read labels off a run's frozen features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quarterturn.data.labelled import open_labelled
from quarterturn.data.sources import MIN_IMAGES
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import stderr_console, stdout_console
from quarterturn.errors import ConfigError
from quarterturn.evaluation.few_shot import DRAWS, SHOTS, few_shot_protocol, usable_shots
from quarterturn.evaluation.probe import frozen_features_protocol, probe_over_seeds
from quarterturn.evaluation.representation import NetworkFeatures
from quarterturn.evaluation.results import probe_result, write_result
from quarterturn.evaluation.room import bytes_to_keep, require_disk, require_memory
from quarterturn.evaluation.store import FeatureStore
from quarterturn.metrics import FEW, MANY
from quarterturn.report.probe_tables import tables_of
from quarterturn.report.tables import print_table
from quarterturn.runs import Run

KINDS = {
    "all": ("knn", "linear"), "knn": ("knn",), "linear": ("linear",), "fewshot": ("fewshot",),
}  # fmt: skip
"""What ``--kind`` asks for. Few-shot figures are of a protocol of their own."""


def probe(
    run: Path | str,
    data: Path | str,
    *,
    train: str | None = None,
    test: str | None = None,
    kind: str = "all",
    shots: tuple[int, ...] = SHOTS,
    draws: int = DRAWS,
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
        kind: ``knn``, ``linear``, ``all`` of both, or ``fewshot``.
        shots: Of ``fewshot``: numbers K of labelled images of each class. A K counts if every class
            has K training images; which are left out is said.
        draws: Of ``fewshot``: how often the K images are drawn, for each seed.
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
        seeds: How many seeds; they fix turns, held-out parts and draws.
        many: Classes with more training images than this are counted as ``many``.
        few: Classes with fewer training images than this are counted as ``few``.
        device: Where to compute.
        workers: Processes that decode files.
        download: Fetch a named data set that is not there.
        quiet: Print nothing.

    Returns:
        What is written to ``RUN/probes/``: protocol, and for each representation and measure its
        mean, spread and values over the seeds (and, of ``fewshot``, over all draws of all of them).
        Figures of an earlier probe of the same weights by the same protocol are kept beside them.

    Raises:
        DataError: No labels, or test classes that training lacks.
        ConfigError: A layer that the backbone has not, numbers that cannot work, or features that
            the disk or the memory has no room for.
    """
    if seed < 0 or seeds < 1:
        raise ConfigError(f"--seed {seed} --seeds {seeds}: expected 0 or more, and 1 or more")
    if not 0 <= few <= many + 1:
        raise ConfigError(f"--few {few} --many {many}: expected 0 <= few <= many + 1")
    if limit is not None and limit < MIN_IMAGES:
        raise ConfigError(f"--limit is {limit}; expected at least {MIN_IMAGES} images")
    if kind not in KINDS:
        raise ConfigError(f"--kind is {kind!r}; expected one of {', '.join(KINDS)}")
    if draws < 1:
        raise ConfigError(f"--draws is {draws}; expected at least 1")
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
    )  # fmt: skip
    numbers, crop = range(seed, seed + seeds), opened.config.data
    rules: dict[str, Any] = {"grid": grid, "many": many, "few": few}
    left_out = ""
    if kind == "fewshot":
        shots, left_out = usable_shots(split, numbers, shots)
        protocol = few_shot_protocol(split, numbers, draws=draws, **rules)
    else:
        protocol = frozen_features_protocol(split, numbers, **rules)
    store = FeatureStore(opened.path / "features")
    needed = bytes_to_keep([*models.values()], split, crop, numbers, store)
    if (words := require_disk(needed, store.folder)) and not quiet:
        stderr_console().print(words, highlight=False, markup=False)
    if kind != "knn":
        learned = max(shots) * len(split.train.class_names) if kind == "fewshot" else None
        require_memory(learned or protocol["training_images"], models["trained"], crop)
    measured = {
        f"{origin}/{name}": values
        for origin, model in models.items()
        for name, values in probe_over_seeds(
            model, split, crop, numbers,
            kinds=KINDS[kind], shots=shots, draws=draws, many=many, few=few,
            device=runtime.device, workers=workers, store=store,
        ).items()
    }  # fmt: skip
    result = probe_result(
        opened, split, protocol, measured,
        data=data, test=test, weights=models["trained"].fingerprint,
    )  # fmt: skip
    if left_out:
        result["left_out"] = left_out
    path = write_result(opened, result)
    if not quiet:
        for table in tables_of(result):
            print_table(stdout_console(), table)
        stderr_console().print(f"written: {path}", highlight=False, markup=False)
    return result
