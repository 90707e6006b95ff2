"""``quarterturn probe``: how well simple classifiers read labels off a run's frozen features."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from quarterturn.data.labelled import open_labelled
from quarterturn.data.sources import MIN_IMAGES
from quarterturn.engine.runtime import Runtime, num_processes
from quarterturn.errors import ConfigError
from quarterturn.features.cache import FeatureCache
from quarterturn.features.network_features import NetworkFeatures, weights_fingerprint
from quarterturn.methods.configuration import Config
from quarterturn.methods.probe_heads_options import ProbeHeadsOptions
from quarterturn.metrics import FEW, MANY
from quarterturn.pages.few_shot_curve import few_shot_curve, lines_of_probe
from quarterturn.pages.figures import save_figure
from quarterturn.pages.probe_tables import tables_of
from quarterturn.pages.report import refresh_report
from quarterturn.pages.tables import show
from quarterturn.presets.protocols import protocol_for
from quarterturn.probing.few_shot import DRAWS, SHOTS
from quarterturn.probing.kinds import KINDS, ProbeTask, fitted, trained
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing
from quarterturn.runs.probes import probe_result, write_result
from quarterturn.runs.records import ProbeResult, read_record

logger = logging.getLogger(__name__)

FLAGS = {"augment": "centre-crops"}
"""Settings of a protocol whose flag has another name."""


def probe(
    run: Path | str,
    data: Path | str,
    *,
    train: str | None = None,
    test: str | None = None,
    kind: str = "all",
    shots: tuple[int, ...] | None = None,
    draws: int | None = None,
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
) -> ProbeResult:
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
        kind: ``knn``, ``linear``, ``all`` of both, ``fewshot``, or ``nonlinear``, which is the
            protocol of that name.
        shots: Of ``fewshot``: numbers K of labelled images of each class, by default 1, 2, 5 and so
            on up to 500. A K counts if every class has K training images; which are left out is
            said.
        draws: Of ``fewshot``: how often the K images are drawn, for each seed; 5 by default.
        preset: A protocol of the literature, of `quarterturn.presets.protocols.PROTOCOLS`:
            classifiers trained by gradient. An interrupted one goes on when it is called again.
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
        seeds: How many seeds; they fix turns, held-out parts and draws, and what a training draws.
            By default 3, and 1 for protocols that run the backbone in every epoch.
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

    Returns:
        What is written to ``RUN/probes/``: the protocol and, for each part of the features,
        classifier and view, the measures with mean, spread and values over the seeds (for
        ``fewshot``, over all draws of all seeds). The file also keeps the scores of earlier probes
        of the same weights by the same protocol.

    Raises:
        DataError: No labels, or test classes that training lacks.
        ConfigError: Several processes, a layer that the backbone has not, numbers that cannot work,
            or features that the disk or the memory has no room for.
    """
    if (processes := num_processes()) > 1:
        raise ConfigError(
            f"a probe runs in one process, and these are {processes}: call it without torchrun"
        )
    if seed < 0 or (seeds is not None and seeds < 1):
        raise ConfigError(f"--seed {seed} --seeds {seeds}: expected 0 or more, and 1 or more")
    if not 0 <= few <= many + 1:
        raise ConfigError(f"--few {few} --many {many}: expected 0 <= few <= many + 1")
    if limit is not None and limit < MIN_IMAGES:
        raise ConfigError(f"--limit is {limit}; expected at least {MIN_IMAGES} images")
    if kind not in (*KINDS, "nonlinear"):
        raise ConfigError(f"--kind is {kind!r}; expected one of {', '.join(KINDS)}, nonlinear")
    if kind != "fewshot" and (shots is not None or draws is not None):
        raise ConfigError("--shots and --draws are of --kind fewshot alone")
    shots, draws = SHOTS if shots is None else shots, DRAWS if draws is None else draws
    if draws < 1:
        raise ConfigError(f"--draws is {draws}; expected at least 1")
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "augment": False if centre_crops else None,
        "test_crops": test_crops,
        "images_per_class": images_per_class,
    }
    given = {name: value for name, value in given.items() if value is not None}
    data = str(data)
    opened = Run.open(run)
    recipe = _recipe(opened, kind, preset, given, grid)
    runtime = Runtime(device, "32-true")
    networks = {"trained": opened.load_network().to(runtime.device)}
    weights = weights_fingerprint(networks["trained"])
    if untrained:
        networks["untrained"] = opened.untrained_network().to(runtime.device)
    if layers == ("all",):
        layers = networks["trained"].backbone.layers
    own_layers = (recipe and recipe.method_as(ProbeHeadsOptions).layers) or None
    # Refuses what is not there, before the data is opened, which may take minutes.
    NetworkFeatures(networks["trained"], layers or own_layers, grid)
    split = open_labelled(
        data,
        test,
        train=train,
        long_tail=long_tail,
        long_tail_kind=long_tail_kind,
        limit=limit,
        max_bad_fraction=opened.config.data.max_bad_fraction,
        download=download,
        index=opened.index,
    )
    store = FeatureCache(opened.path / "features")
    task = ProbeTask(opened, weights, networks, split, store, runtime, workers, many, few)
    with stage("probe", total=len(networks)):
        if recipe is None:
            seen = range(seed, seed + (3 if seeds is None else seeds))
            measured = fitted(task, seen, kind, layers, grid, shots, draws)
        else:
            seen = range(seed, seed + (_default_seeds(recipe) if seeds is None else seeds))
            if layers is not None:
                recipe = recipe.with_settings(layers=layers)
            measured = trained(task, seen, preset or kind, recipe.with_settings(workers=workers))
    result = probe_result(
        opened,
        split,
        measured.protocol,
        measured.scores,
        data=data,
        test=test,
        weights=weights,
        left_out=measured.left_out,
    )
    path = write_result(opened, result)
    measured.finish()
    refresh_report(opened)
    if kind == "fewshot":
        # With the figures of earlier probes, which the file keeps.
        whole = read_record(path, ProbeResult)
        save_figure(opened.figures, few_shot_curve(lines_of_probe(whole), path.stem))
    for table in tables_of(result):
        show(table)
    written = {"written": path}
    if kind == "fewshot":
        written["curve"] = opened.figures / f"{path.stem}.png"
    log_closing(
        f"probed {opened.path} on {data}",
        written,
        [
            ("probe", opened.path, data, "--kind", "fewshot"),
            ("finetune", data, "--from", opened.path),
            ("compare", opened.path, "RUN"),
        ],
    )
    return result


def _default_seeds(recipe: Config) -> int:
    return 1 if recipe.method_as(ProbeHeadsOptions).augment else 3


def _recipe(
    run: Run, kind: str, preset: str | None, given: dict[str, Any], grid: int
) -> Config | None:
    """The protocol whose classifiers are to be trained; None for those that are fitted.

    Raises:
        ConfigError: What was given does not go together.
    """
    if preset is not None and kind != "all":
        raise ConfigError(f"give --kind {kind} or --preset {preset}, not both")
    if preset is None and kind != "nonlinear":
        if given:
            flags = ", ".join("--" + FLAGS.get(name, name.replace("_", "-")) for name in given)
            raise ConfigError(f"of a --preset, and none is named: {flags}")
        return None
    if grid != 1:
        raise ConfigError(f"--grid {grid} is for classifiers that are fitted; leave it out")
    recipe = protocol_for(preset or kind, run.config).with_settings(**given)
    recipe.check()
    return recipe
