"""What a pretraining would take, before it begins: ``--budget`` and ``--dry-run``."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from quarterturn.config.time_budget import AUTO, NONE, both_given, seconds_of
from quarterturn.data.selection import Selection
from quarterturn.engine.runtime import Runtime
from quarterturn.methods.configuration import Config
from quarterturn.presets import default_preset
from quarterturn.pretraining.learning_curve import LabelledSample
from quarterturn.pretraining.options import PretrainOptions
from quarterturn.pretraining.training import Pretraining
from quarterturn.runs import Run
from quarterturn.runs.time_budget import choose_epochs, measure_cost
from quarterturn.weights.start import Start

logger = logging.getLogger(__name__)

DEFAULT_BUDGET = "1h"
"""Of photos on a processor, where nobody has said how long."""


def budget_of(own: PretrainOptions, config: Config | None, settings: dict[str, Any]) -> str:
    """The time that the options ask for, or ``auto`` or ``none``.

    Raises:
        ConfigError: They say how many epochs there are too.
    """
    if own.budget is not None:
        if own.budget != NONE and "epochs" in settings:
            raise both_given(own.budget, settings["epochs"])
        return own.budget
    is_said = config is not None or own.preset is not None or "epochs" in settings
    return NONE if is_said else AUTO


def ends_by_itself(data: str, config: Config, runtime: Runtime) -> bool:
    """Whether ``auto`` leaves a training as long as its recipe has it."""
    of_photos = default_preset(data) == "folder"
    return not of_photos or runtime.device.type != "cpu" or not config.run.epochs


def within(
    budget: str,
    began_s: float,
    config: Config,
    images: Selection,
    start: Start | None,
    runtime: Runtime,
    sample: LabelledSample | None,
    seeds: int,
) -> Config:
    """The configuration with the epochs that fit into a time.

    What ``--upright auto`` makes first is not part of it: steps of this training say nothing of how
    long that takes.

    Args:
        budget: The time in words, or ``auto``, for the trainings of all seeds together.
        began_s: When the command began, by `time.perf_counter`.
        config: All settings.
        images: What is learned from.
        start: The weights that the training begins with, if any.
        runtime: Device, precision, processes.
        sample: The labelled images of the quick probes, if any.
        seeds: Trainings, which share the time equally.

    Raises:
        ConfigError: Not one epoch fits.
    """
    words = DEFAULT_BUDGET if budget == AUTO else budget
    cost = measure_cost(rehearsal(config, images, start, runtime, sample))
    budget_s = seconds_of(words)
    left_s = runtime.gather_objects(budget_s - (time.perf_counter() - began_s))[0]
    chosen = choose_epochs(
        config,
        cost,
        words,
        budget_s=budget_s,
        left_s=left_s,
        at_most=config.run.epochs if budget == AUTO else None,
        num_images=len(images.train),
        trainings=seeds,
    )
    chosen.check()
    if config.noise_aware.upright == "auto":
        logger.info("the networks that --upright auto trains first come on top of that time")
    return chosen


def warn_left_out(own: PretrainOptions, config: Config) -> None:
    """Say what a dry run does not time."""
    if own.cache is not None:
        logger.warning("the cache is not made: what follows is timed from the images as they are")
    if config.noise_aware.upright == "auto":
        logger.warning("the networks that --upright auto trains first are not in what follows")


def rehearsal(
    config: Config,
    images: Selection,
    start: Start | None,
    runtime: Runtime,
    sample: LabelledSample | None,
) -> Pretraining:
    """A training of which some steps are timed; arguments as for `within`."""
    # Weights of turns and images cost nothing that would show, and need files of the run.
    plain = config.with_settings(
        upright="none", balance_turns=False, balance_agnostic=False, balance_semantic=False
    )
    if plain.run.epochs == 0:
        plain = plain.with_settings(epochs=1)
    return Pretraining(
        config=plain,
        images=images.train,
        runtime=runtime,
        source=images.source,
        name="timing",
        run=Run(Path(), None, plain, None),
        selection=images,
        p_upright=None,
        start=None if start is None else start.network,
        sample=sample,
    )
