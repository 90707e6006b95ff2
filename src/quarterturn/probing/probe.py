"""``quarterturn probe``: how well simple classifiers read labels off a run's frozen features."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from quarterturn.config.options import take_options
from quarterturn.data.labelled import LabelledData, open_labelled
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.torchrun import num_processes
from quarterturn.errors import ConfigError
from quarterturn.features.cache import FeatureCache
from quarterturn.features.network_features import NetworkFeatures, weights_fingerprint
from quarterturn.methods.base import Network
from quarterturn.methods.configuration import Config
from quarterturn.methods.probe_heads_options import ProbeHeadsOptions
from quarterturn.pages.few_shot_curve import few_shot_curve, lines_of_probe
from quarterturn.pages.figures import save_figure
from quarterturn.pages.probe_tables import is_few_shot, tables_of
from quarterturn.pages.report import refresh_report
from quarterturn.pages.tables import show
from quarterturn.presets.protocols import protocol_for
from quarterturn.presets.svm import SVM_PROTOCOLS
from quarterturn.probing.evaluation import evaluate_kept
from quarterturn.probing.few_shot import DRAWS, SHOTS
from quarterturn.probing.kinds import Measured, ProbeTask, fitted, trained
from quarterturn.probing.options import ProbeOptions
from quarterturn.probing.svm_probe import svm_probe
from quarterturn.progress import stage
from quarterturn.runs import Run, command_line
from quarterturn.runs.closing import log_closing
from quarterturn.runs.failures import stops_noted
from quarterturn.runs.lock import locking_its_run
from quarterturn.runs.probes import probe_result, write_result
from quarterturn.runs.record_files import read_record
from quarterturn.runs.records import START, ProbeResult
from quarterturn.weights.weights_as_run import as_run

logger = logging.getLogger(__name__)


def probe(
    run: Path | str,
    data: Path | str,
    options: ProbeOptions | None = None,
    **fields: Any,
) -> ProbeResult | None:
    """Probe a run's features, and those of what its training began with beside them.

    Features are extracted once and kept, memory-mapped, in ``RUN/features``; deleting that folder
    costs nothing but the time to make them again. Several processes share the extraction; then the
    first one fits or trains the classifiers by itself.

    Args:
        run: The run directory, a file of weights, or ``timm:NAME``.
        data: Labelled images: DATA with sub-folders or labels. Without a split of its own, a
            stratified 20 % is held out by each seed.
        options: Which classifiers, on which features, learned from what. Seeds fix turns, held-out
            parts and draws, and what a training draws.
        **fields: Fields of `ProbeOptions`, in place of ``options`` or of some of its values.

    Returns:
        What is written to ``RUN/probes/``: the protocol and, for each part of the features,
        classifier and view, the measures with mean, spread and values over the seeds (for
        ``fewshot``, over all draws of all seeds). The file also keeps the scores of earlier probes
        of the same weights by the same protocol. None to all processes but the first.

    Raises:
        DataError: No labels, or test classes that training lacks.
        ConfigError: A layer that the backbone has not, numbers that cannot work, features that the
            disk or the memory has no room for, or several processes for a preset that keeps none.
    """
    options = take_options(ProbeOptions, options, fields)
    return _probe(as_run(run, data, download=options.download), str(data), options)


@locking_its_run
def _probe(run: Path, data: str, options: ProbeOptions) -> ProbeResult | None:
    """Probe the features of a run."""
    opened = Run.open(run)
    if options.protocol == "paper" and options.preset != "voc07-svm-lowshot":
        logger.warning(
            f"--protocol paper has no effect: the paper of {options.preset} chooses nothing on the "
            "test images"
        )
    recipe = _recipe(opened, options)
    with Runtime(options.device, "32-true") as runtime:
        task = _task(opened, data, options, recipe, runtime)
        measured, split = _measure(task, options, recipe)
    if measured is None:
        return None
    result = probe_result(
        opened,
        split,
        measured.protocol,
        measured.scores,
        data=data,
        test=options.test,
        weights=task.weights,
        left_out=measured.left_out,
    )
    path = write_result(opened, result)
    measured.finish()
    refresh_report(opened)
    if is_few_shot(result):
        # With the figures of earlier probes, which the file keeps.
        whole = read_record(path, ProbeResult)
        save_figure(opened.figures, few_shot_curve(lines_of_probe(whole), path.stem))
    for table in tables_of(result):
        show(table)
    written = {"scores": path, "report": opened.path / "report.html"}
    if measured.kept is not None:
        written["classifiers"] = measured.kept
    other = ("--kind", "linear" if options.kind == "fewshot" else "fewshot")
    if task.split.has_several_labels:
        other = ("--preset", "voc07-svm") if options.preset is None else ("--kind", "linear")
    if is_few_shot(result):
        written["curve"] = opened.figures / f"{path.stem}.png"
    log_closing(
        f"probed {opened.path} on {data}",
        written,
        [
            ("probe", opened.path, data, *other),
            ("finetune", data, "--from", opened.path),
            ("compare", opened.path),
        ],
    )
    return result


def _baseline(run: Run) -> dict[str, Network]:
    """What training has to beat: the weights it began with, or else those that were drawn."""
    if not run.kept_start.is_dir():
        return {"untrained": run.untrained_network()}
    return {} if run.config.run.epochs == 0 else {START: Run.open(run.kept_start).load_network()}


def _task(
    run: Run, data: str, options: ProbeOptions, recipe: Config | None, runtime: Runtime
) -> ProbeTask:
    """What is probed, on which images."""
    networks = {"trained": run.load_network().to(runtime.device)}
    weights = weights_fingerprint(networks["trained"])
    if options.untrained:
        networks |= {origin: of.to(runtime.device) for origin, of in _baseline(run).items()}
    own_layers = None
    if recipe is not None and not options.evaluate_only:  # else those of the kept classifiers
        own_layers = recipe.method_as(ProbeHeadsOptions).layers or None
    # Refuses what is not there, before the data is opened, which may take minutes.
    NetworkFeatures(networks["trained"], _layers(networks, options) or own_layers, options.grid)
    split = open_labelled(
        data,
        options.test,
        train=options.train,
        long_tail=options.long_tail,
        long_tail_kind=options.long_tail_kind,
        limit=options.limit,
        **options.reading_as(run.config.data),
        several_labels=options.takes_several_labels,
        download=options.download,
        index=run.index,
    )
    for source in split.sources:
        source.log_summary()
    if options.preset in SVM_PROTOCOLS and not split.has_several_labels:
        raise ConfigError(
            f"--preset {options.preset} is for images with several labels each, and {data} has one "
            "label per image: choose --kind linear"
        )
    return ProbeTask(
        run,
        weights,
        networks,
        split,
        FeatureCache(run.path / "features"),
        runtime,
        options.num_workers,
        options.many,
        options.few,
        options.test or data,
        options.train or data,
    )


def _layers(networks: dict[str, Network], options: ProbeOptions) -> tuple[str, ...] | None:
    """The layers that are asked for; None for the default."""
    if options.layers == ("all",):
        return networks["trained"].backbone.layers
    return options.layers


def _measure(
    task: ProbeTask, options: ProbeOptions, recipe: Config | None
) -> tuple[Measured | None, LabelledData]:
    """The scores of a probe, None to all processes but the main one; and the images they are of."""
    if not options.evaluate_only:
        return _measure_anew(task, options, recipe), task.split
    assert recipe is not None
    if not task.runtime.is_main:
        return None, task.split
    seeds = None
    if options.seeds is not None or options.seed:
        seeds = range(options.seed, options.seed + (options.seeds or 1))
    with stage("probe", total=len(task.networks)):
        return evaluate_kept(
            task,
            options.preset or options.kind,
            recipe.with_settings(workers=options.workers),
            options.training_settings,
            seeds=seeds,
            layers=_layers(task.networks, options),
            other_training_data=options.train is not None or options.long_tail is not None,
        )


def _measure_anew(task: ProbeTask, options: ProbeOptions, recipe: Config | None) -> Measured | None:
    """The scores of classifiers that are fitted or trained now."""
    layers = _layers(task.networks, options)
    with stage("probe", total=len(task.networks) * (1 if task.runtime.world_size == 1 else 2)):
        if options.preset in SVM_PROTOCOLS:
            assert options.preset is not None
            seeds = range(options.seed, options.seed + (options.seeds or 1))
            on_test = options.protocol == "paper" and options.preset == "voc07-svm-lowshot"
            return svm_probe(task, seeds, options.preset, layers, on_test=on_test)
        if recipe is None:
            seeds = range(options.seed, options.seed + (options.seeds or 3))
            shots = SHOTS if options.shots is None else options.shots
            draws = options.draws or DRAWS
            return fitted(task, seeds, options.kind, layers, options.grid, shots, draws)
        seeds = range(options.seed, options.seed + (options.seeds or _default_seeds(recipe)))
        if layers is not None:
            recipe = recipe.with_settings(layers=layers)
        recipe = recipe.with_settings(workers=options.workers)
        with stops_noted(lambda: f"the same command resumes it ({command_line()})"):
            return trained(task, seeds, options.preset or options.kind, recipe)


def _default_seeds(recipe: Config) -> int:
    return 1 if recipe.method_as(ProbeHeadsOptions).augment else 3


def _recipe(run: Run, options: ProbeOptions) -> Config | None:
    """The protocol whose classifiers are to be trained; None for those that are fitted.

    Raises:
        ConfigError: Several processes, for a protocol that runs the backbone in every epoch.
    """
    if options.preset in SVM_PROTOCOLS or (options.preset is None and options.kind != "nonlinear"):
        return None
    protocol = protocol_for(options.preset or options.kind, run.config)
    recipe = protocol.with_settings(**options.protocol_settings)
    recipe.check()
    if (processes := num_processes()) > 1 and recipe.method_as(ProbeHeadsOptions).augment:
        raise ConfigError(
            f"--preset {options.preset} learns from random crops, in one process, and these are "
            f"{processes}: call it without torchrun, or give --centre-crops"
        )
    return recipe
