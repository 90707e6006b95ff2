"""One training of a classifier, tested as it goes."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quarterturn.classifying.cautions import too_few_steps
from quarterturn.classifying.evaluation import classify
from quarterturn.classifying.results import conclude, tested
from quarterturn.classifying.solved_classifier import FEW_IMAGES, is_solved, solve
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.imageset import ImageSet
from quarterturn.data.subsets import draw_per_class
from quarterturn.data.train_test_split import TrainTestSplit
from quarterturn.engine.loop import Training
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import CheckpointError
from quarterturn.methods.base import Network
from quarterturn.methods.build import build_method
from quarterturn.methods.classifier import (
    ALEXNET_LINEAR,
    Classification,
    ClassifierNetwork,
)
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.pages.classifier_tables import brief_words, measures_of, overlap_words
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.classifier_results import Solution, read_classifier_result
from quarterturn.runs.life_cycle import REHEARSED_IMAGES, TrainingFiles, TrainingJob
from quarterturn.runs.phases import in_phases
from quarterturn.runs.training_images import count_trained_on
from quarterturn.runs.without_effect import options_without_effect
from quarterturn.weights.backbone_weights import weights_for
from quarterturn.wording import counted

logger = logging.getLogger(__name__)

SAMPLE = 64
"""Training images that ``--rescale`` takes."""
REPORT_SHARE = 0.1
"""Time of the last test, the pictures and the page, as a share of the training's."""


@dataclass(frozen=True, kw_only=True)
class ClassifierTraining(TrainingJob[Classification]):
    """Trains a classifier, and tests it every few epochs; the last epoch counts.

    Attributes:
        run: The run directory.
        examples: Its images, and those it is tested on.
        trained_on: What the run that it starts from had trained on of the test images, by
            `quarterturn.runs.training_images.count_trained_on`; empty from scratch.
        last: The figures of the last epoch, once it is tested.
        solutions: The one by which the classifier was solved, where it is not trained.
        start: The network that it begins with, where the run has no directory that holds it.
    """

    run: Run
    examples: TrainTestSplit
    trained_on: dict[str, int | None] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
    solutions: list[Solution] = field(default_factory=list)
    start: Network | None = None

    estimates_memory = True

    @classmethod
    def of(
        cls,
        run: Run,
        examples: TrainTestSplit,
        runtime: Runtime,
        weight: float = 1,
        *,
        start: Network | None = None,
    ) -> ClassifierTraining:
        """The training of a run; its stage of progress counts ``weight``."""
        return cls(
            config=run.config,
            images=examples.train,
            runtime=runtime,
            source=examples.split.source,
            files=TrainingFiles.of_run(run),
            name=f"seed {run.config.run.seed}",
            weight=weight,
            run=run,
            examples=examples,
            start=start,
        )

    def build_method(self) -> Classification:
        """A classifier on a new backbone, or on that of the run it starts from.

        It is solved on the features of that backbone, to stay so or to begin so.
        """
        counts = torch.from_numpy(self.examples.class_counts)
        method = build_method(
            self.config, len(self.images), class_counts=counts, device=self.runtime.device
        )
        assert isinstance(method, Classification)
        # Without results, a run that was interrupted is solved again, to the same.
        has_to_solve = is_solved(self.config) and not self._has_result
        if (has_to_solve or not self.run.checkpoint.exists()) and (begun := self._start_network()):
            pretrained = begun.backbone
            weights = weights_for(pretrained, self.config.model.backbone, self._sample())
            backbone = method.network.backbone
            classifier_init = self.config.method_as(ClassifierOptions).classifier_init
            if classifier_init == "deepcluster":
                own = backbone.state_dict().items()
                weights |= {name: w for name, w in own if name.startswith(ALEXNET_LINEAR)}
            backbone.load_state_dict(weights)
            if classifier_init == "solved" and not has_to_solve:
                self._solve(method, self._few())
        if has_to_solve:
            self.solutions.append(self._solve(method, self.images))
        return method

    def _start_network(self) -> Network | None:
        """What the training begins with; None from scratch."""
        if self.start is not None:
            return self.start
        start = self.run.open_start()
        return None if start is None else start.load_network()

    def _few(self) -> ImageSet:
        """Some training images of each class, to begin with: more cost time and change little."""
        assert self.images.labels is not None
        few = draw_per_class(self.images.labels, FEW_IMAGES, self.config.run.seed)
        return self.images.subset(few)

    def _solve(self, method: Classification, images: ImageSet) -> Solution:
        """Solve the classifier on images."""
        assert isinstance(method.network, ClassifierNetwork)
        failed: dict[int, str] = {}
        solution = solve(
            method.network, images, self.config, device=self.runtime.device, failed=failed
        )
        self.unreadable.update({images.names[i]: why for i, why in failed.items()})
        if self.source is not None:
            limit = self.config.data.max_bad_fraction
            self.source.check_failures(self.unreadable, len(images), limit)
        return solution

    def _sample(self) -> Tensor | None:
        """The first training images, where weights are scaled by them."""
        if self.config.method_as(ClassifierOptions).rescale == "none":
            return None
        first = self.images.subset(np.arange(min(SAMPLE, len(self.images))))
        batches = evaluation_batches(first, self.config.data, failed={})
        return torch.cat([batch.images for batch in batches])

    def chances(self) -> Tensor | None:
        """As the resampling rule has it."""
        options = self.config.method_as(ClassifierOptions)
        return self.examples.chances(options.resample, self.config.balance.beta)

    def draws(self) -> int | None:
        """As the options have it."""
        return self.config.method_as(ClassifierOptions).images_per_epoch

    def is_cyclic(self) -> bool:
        """As the options have it."""
        return self.config.method_as(ClassifierOptions).order == "cyclic"

    def is_concluded(self) -> bool:
        """The results come last; damaged ones are made again."""
        try:
            read_classifier_result(self.run.path)
        except FileNotFoundError:
            return False
        except CheckpointError as error:
            logger.warning(f"{error}; the classifier is tested again")
            return False
        return True

    @property
    def _has_result(self) -> bool:
        """Whether an earlier call wrote results that are whole."""
        with suppress(CheckpointError, FileNotFoundError):
            read_classifier_result(self.run.path)
            return True
        return False

    @property
    def class_names(self) -> tuple[str, ...]:
        """The run's."""
        return self.run.class_names

    @property
    def place(self) -> str:
        """The run directory."""
        return str(self.run.path)

    def introduce(self, training: Training[Classification]) -> None:
        """Log the data, the loss and the epochs to come, and whether test images were seen."""
        # In a dry run, whose start is in no directory of its own, nothing is counted.
        if self.start is None and (start := self.run.open_start()) is not None:
            index = self.run.index_of_start or self.run.index
            found = count_trained_on(start, self.examples.test, str(self.run.data), index=index)
            self.trained_on.update(found)
        words = self._words_on_training(training)
        _introduce(self.run, self.examples, self.runtime, training, words)
        for warning in self._warnings(training):
            logger.warning(warning)
        if words := overlap_words(*self.trained_on.values()) if self.trained_on else "":
            logger.info(words)

    @property
    def evaluate_every(self) -> int:
        """Epochs between tests; only the last epoch where diagnostics are off."""
        return super().evaluate_every if self.config.run.diagnostics else self.config.run.epochs

    def evaluate(self, training: Training[Classification], epochs_done: int) -> None:
        """Test the classifier."""
        figures = self._test(training)
        training.telemetry.record(
            "evaluation",
            step=training.step - 1,
            epoch=epochs_done,
            **{name: figures[name] for name in measures_of(figures)},
        )
        logger.info(f"after epoch {epochs_done}: {brief_words(figures)}")
        if epochs_done == self.config.run.epochs:
            self.last.update(figures)

    def rehearse_evaluation(self, training: Training[Classification]) -> float:
        """Test on a few images; see `TrainingJob.rehearse_evaluation`."""
        assert isinstance(training.method.network, ClassifierNetwork)
        few = np.arange(min(REHEARSED_IMAGES, len(self.examples.test)))
        classify(
            training.method.network,
            self.examples.test.subset(few),
            self.config.data,
            device=self.runtime.device,
            workers=self.config.machine.num_workers,
            failed={},
        )
        passes = max(1, self.config.method_as(ClassifierOptions).random_test_crops)
        return passes * len(self.examples.test) / len(few)

    def conclude(self, training: Training[Classification]) -> None:
        """Write figures, tables and the page."""
        # A run of no epochs, or one that was interrupted right at its end, was not tested above.
        with stage("report", weight=REPORT_SHARE):
            figures = self.last or self._test(training)
            conclude(
                self.run,
                self.examples,
                figures,
                self.unreadable,
                self.trained_on,
                warnings=self._warnings(training),
                solution=self.solutions[-1] if self.solutions else None,
            )

    def _words_on_training(self, training: Training[Classification]) -> str:
        if self.solutions:
            return (
                "the classifier is solved exactly, not trained: logistic regression on the frozen "
                f"features {self.solutions[-1].regression} (--solver steps trains it)"
            )
        phases = in_phases(self.config, self.run.phases)
        steps = training.batches.steps_per_epoch
        return f"{counted(self.config.run.epochs, 'epoch')}{phases} of {counted(steps, 'step')}"

    def _warnings(self, training: Training[Classification]) -> list[str]:
        """What is known before the training, of its settings and its length."""
        short = too_few_steps(
            self.config.run.epochs,
            training.batches.steps_per_epoch,
            is_frozen=self.config.model.trained == "none",
        )
        return [*options_without_effect(self.config), *([short] if short else [])]

    def _test(self, training: Training[Classification]) -> dict[str, Any]:
        return tested(training.method, self.examples, self.config, self.runtime, self.unreadable)


def _introduce(
    run: Run,
    examples: TrainTestSplit,
    runtime: Runtime,
    training: Training[Classification],
    training_words: str,
) -> None:
    """Say what is about to happen."""
    config, settings = run.config, run.config.method_as(ClassifierOptions)
    examples.split.source.log_summary()
    begun = "from scratch" if run.start is None else f"with {run.began_with}"
    parameters = sum(p.numel() for p in training.method.network.parameters() if p.requires_grad)
    precision = "32-true" if is_solved(config) else runtime.precision
    rules = f"re-weighting {settings.reweight}, resampling {settings.resample}"
    logger.info(
        f"{examples.words()}\n"
        f"{settings.loss}, {rules}; {config.model.backbone} {begun} at {config.data.image_size} "
        f"px, {parameters:,} parameters to learn\n"
        f"{training_words}, on {runtime.device} in {precision}; run directory {run.path}"
    )
