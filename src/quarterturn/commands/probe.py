"""``quarterturn probe``: how well simple classifiers read labels off a run's frozen features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quarterturn.data.labelled import open_labelled
from quarterturn.data.sources import MIN_IMAGES
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import line_printer, stderr_console, stdout_console
from quarterturn.errors import ConfigError
from quarterturn.evaluation.heads import HeadsProbe, heads_protocol
from quarterturn.evaluation.probe import frozen_features_protocol, probe_over_seeds
from quarterturn.evaluation.representation import NetworkFeatures
from quarterturn.evaluation.results import probe_result, protocol_id, write_result
from quarterturn.evaluation.store import FeatureStore, weights_fingerprint
from quarterturn.metrics import FEW, MANY
from quarterturn.protocols import protocol_for
from quarterturn.report.probe_tables import groups_table, probe_table
from quarterturn.report.tables import print_table
from quarterturn.runs import Run

KINDS = {"all": ("knn", "linear"), "knn": ("knn",), "linear": ("linear",)}


def probe(
    run: Path | str,
    data: Path | str,
    *,
    train: str | None = None,
    test: str | None = None,
    kind: str = "all",
    preset: str | None = None,
    layers: tuple[str, ...] | None = None,
    grid: int = 1,
    untrained: bool = True,
    long_tail: float | None = None,
    long_tail_kind: str = "exponential",
    limit: int | None = None,
    seed: int = 0,
    seeds: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    centre_crops: bool = False,
    test_crops: int | None = None,
    images_per_class: tuple[int, ...] | None = None,
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
        kind: ``knn``, ``linear``, or ``all`` of these two; ``nonlinear`` for the protocol of that
            name.
        preset: A protocol of the literature, of `quarterturn.protocols.PROTOCOLS`: classifiers
            trained by gradient. An interrupted one goes on when it is called again.
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
        seeds: How many seeds; they fix turns and held-out parts, and what a protocol draws. By
            default 3, and 1 for protocols that run the backbone in every epoch.
        epochs: Of a protocol's training, in place of its own; its schedule is scaled.
        batch_size: Likewise.
        centre_crops: Of a protocol: learn from centre crops in place of random ones, so that the
            features are extracted once.
        test_crops: Likewise, 1 or 10: views of a test image that are averaged.
        images_per_class: Likewise: learn from the first so many images of each class.
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
    if seed < 0 or (seeds is not None and seeds < 1):
        raise ConfigError(f"--seed {seed} --seeds {seeds}: expected 0 or more, and 1 or more")
    if not 0 <= few <= many + 1:
        raise ConfigError(f"--few {few} --many {many}: expected 0 <= few <= many + 1")
    if limit is not None and limit < MIN_IMAGES:
        raise ConfigError(f"--limit is {limit}; expected at least {MIN_IMAGES} images")
    if kind not in (*KINDS, "nonlinear"):
        raise ConfigError(f"--kind is {kind!r}; expected one of {', '.join(KINDS)}, nonlinear")
    if preset is not None and kind != "all":
        raise ConfigError(f"give --kind {kind} or --preset {preset}, not both")
    data = str(data)
    opened = Run.open(run)
    recipe = None
    given = {
        "epochs": epochs, "batch_size": batch_size, "augment": False if centre_crops else None,
        "test_crops": test_crops,
        "images_per_class": images_per_class,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    if kind == "nonlinear" or preset is not None:
        recipe = protocol_for(preset or kind, opened.config)
        recipe = recipe.with_settings(**given, workers=workers)
        recipe.check()
    elif given:
        raise ConfigError(f"{', '.join(given)}: settings of a --preset, and none is named")
    runtime = Runtime(device, "32-true")
    networks = {"trained": opened.load_network().to(runtime.device)}
    weights = weights_fingerprint(networks["trained"])
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
    store = FeatureStore(opened.path / "features")
    if recipe is None:
        numbers = range(seed, seed + (3 if seeds is None else seeds))
        protocol = frozen_features_protocol(split, numbers, grid=grid, many=many, few=few)
        measured = {
            f"{origin}/{name}": values
            for origin, model in models.items()
            for name, values in probe_over_seeds(
                model, split, opened.config.data, numbers,
                kinds=KINDS[kind], many=many, few=few, device=runtime.device, workers=workers,
                store=store,
            ).items()
        }  # fmt: skip
    else:
        if layers is not None:
            recipe = recipe.with_settings(layers=layers)
        default = 1 if recipe.heads.augment else 3
        numbers = range(seed, seed + (default if seeds is None else seeds))
        protocol = heads_protocol(preset or kind, split, numbers, recipe, many=many, few=few)
        heads = HeadsProbe(
            split, recipe, runtime,
            folder=opened.path / "probes" / f"{protocol_id(protocol)}-{weights}.training",
            store=store, many=many, few=few, console=None if quiet else stderr_console(),
        )  # fmt: skip
        measured = {}
        for origin, network in networks.items():
            measured |= heads.run(network, origin, numbers)
    result = probe_result(opened, split, protocol, measured, data=data, test=test, weights=weights)
    path = write_result(opened, result)
    if recipe is not None:
        heads.finish()
    if not quiet:
        for table in (probe_table(result), groups_table(result)):
            if table is not None:
                print_table(stdout_console(), table)
        stderr_console().print(f"written: {path}", highlight=False, markup=False)
    return result
