"""The epochs of a training that is given a time: chosen once, before it begins.

Twenty steps and one evaluation are timed on a copy that is thrown away; then the number of epochs
is a setting like any other, and the run resumes as if somebody had given it.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, replace

from quarterturn.config.time_budget import SECONDS
from quarterturn.engine.step_time import TIMED_STEPS, WARM_UP_STEPS, time_steps
from quarterturn.errors import ConfigError
from quarterturn.methods.configuration import Config
from quarterturn.progress import duration, stage
from quarterturn.runs.life_cycle import M, TrainingFiles, TrainingJob, prepare
from quarterturn.wording import counted

logger = logging.getLogger(__name__)

REPORT_SHARE = 0.1
"""Time of the pictures and the page, as a share of the training's."""


@dataclass(frozen=True)
class Cost:
    """What a training costs on this machine.

    Attributes:
        step_s: Seconds of a step.
        steps_per_epoch: Steps in an epoch.
        evaluation_s: Seconds of an evaluation on the way.
        every: Epochs between evaluations; None for a tenth of the epochs.
        probe_s: Seconds of a quick probe on the way.
        probe_every: Epochs between these; None for none.
    """

    step_s: float
    steps_per_epoch: int
    evaluation_s: float = 0.0
    every: int | None = None
    probe_s: float = 0.0
    probe_every: int | None = None

    @property
    def epoch_s(self) -> float:
        """Seconds of the steps of an epoch."""
        return self.step_s * self.steps_per_epoch

    @property
    def a_step(self) -> str:
        """Time of a step in words."""
        return f"{1000 * self.step_s:.0f} ms" if self.step_s < 1 else f"{self.step_s:.1f} s"

    def in_words(self, timed: int, num_images: int) -> str:
        """What was measured: ``20 steps took 84 ms each, so an epoch ... takes 3 min``."""
        return (
            f"{timed} steps took {self.a_step} each, so an epoch of {self.steps_per_epoch:,} steps "
            f"over {num_images:,} images takes {duration(self.epoch_s)}"
        )

    def training_s(self, epochs: int) -> float:
        """Seconds of a whole training: steps, evaluations, quick probes and the page."""
        every = self.every or max(1, epochs // 10)
        evaluations_s = -(-epochs // every) * self.evaluation_s
        probes = 0 if self.probe_every is None else -(-epochs // self.probe_every)
        return (1 + REPORT_SHARE) * epochs * self.epoch_s + evaluations_s + probes * self.probe_s

    def epochs_within(self, seconds: float) -> int:
        """The most epochs that fit into a time; 0 if none does."""
        epochs = max(0, int(seconds / ((1 + REPORT_SHARE) * self.epoch_s)))
        while epochs > 0 and self.training_s(epochs) > seconds:
            epochs -= 1
        return epochs


def measure_cost(
    job: TrainingJob[M],
    *,
    warm_up: int = WARM_UP_STEPS,
    timed: int = TIMED_STEPS,
    introduces: bool = False,
) -> Cost:
    """Time the steps and the evaluation of a training on a copy of it.

    Args:
        job: The training; nothing of it changes, and nothing is written.
        warm_up: Steps before the clock starts.
        timed: Steps that are timed.
        introduces: Whether to log what is timed, as a training does.
    """
    copy = replace(job, files=TrainingFiles(), unreadable={})
    with stage("timing", weight=0):
        training = prepare(copy)
        if introduces and job.runtime.is_main:
            copy.introduce(training)
        step_s = time_steps(training, warm_up=warm_up, timed=timed)
        start_s = time.perf_counter()
        times = copy.rehearse_evaluation(training) if job.runtime.is_main else 1.0
        evaluated_s = time.perf_counter()
        if job.runtime.is_main and copy.probe_every is not None:
            copy.probe(training, 0)  # a copy keeps no log
        took_s = times * (evaluated_s - start_s), time.perf_counter() - evaluated_s
        evaluation_s, probe_s = job.runtime.gather_objects(took_s)[0]
    return Cost(
        step_s,
        training.batches.steps_per_epoch,
        evaluation_s,
        job.config.run.diagnostics_every,
        probe_s,
        job.probe_every,
    )


def choose_epochs(
    config: Config,
    cost: Cost,
    budget: str,
    *,
    budget_s: float,
    left_s: float,
    at_most: int | None = None,
    num_images: int,
    trainings: int = 1,
) -> Config:
    """The configuration with as many epochs as fit, and a line that says so.

    Args:
        config: All settings, with the recipe's epochs.
        cost: By `measure_cost`.
        budget: The time in words, as the user gave it.
        budget_s: The same in seconds.
        left_s: Seconds that are left of it.
        at_most: Epochs that are enough, for a budget that nobody asked for. It then has to fit no
            epoch: one is trained, with a warning.
        num_images: Images to learn from.
        trainings: How many have to fit, which differ in their seed.

    Raises:
        ConfigError: Not one epoch fits.
    """
    epochs = cost.epochs_within(left_s / trainings)
    shared = f" for each of {trainings} seeds" if trainings > 1 else ""
    measured = f"--budget {budget}: {cost.in_words(TIMED_STEPS, num_images)}"
    if epochs == 0:
        needed = budget_s - left_s + trainings * cost.training_s(1)
        advice = f"give --budget {_in_words(needed)} or more, or a smaller --limit or --image-size"
        if at_most is None:
            raise ConfigError(f"{measured}, and not one fits: {advice}")
        logger.warning(f"{measured}: one epoch{shared}, which is longer; {advice}")
        return config.with_settings(epochs=1)
    if at_most is not None:
        epochs = min(epochs, at_most)
    logger.info(
        f"{measured}: {counted(epochs, 'epoch')}{shared} (the recipe has "
        f"{config.run.epochs:,}), {duration(trainings * cost.training_s(epochs))} with evaluations "
        f"and the page{'s' if trainings > 1 else ''}"
    )
    return config.with_settings(epochs=epochs)


def _in_words(seconds: float) -> str:
    """A time that ``--budget`` takes, rounded up: ``40s``, ``7m``, ``3h``."""
    fitting = [unit for unit, unit_s in SECONDS.items() if seconds > 3 * unit_s]
    unit = (fitting or ["s"])[0]
    return f"{math.ceil(seconds / SECONDS[unit])}{unit}"
