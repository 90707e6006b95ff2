"""One training of a classifier, tested as it goes."""

from __future__ import annotations

import logging
from typing import Any

import torch

from quarterturn.classifying.results import conclude, tested
from quarterturn.data.train_test_split import TrainTestSplit
from quarterturn.engine.loop import Training, fit
from quarterturn.engine.runtime import Runtime
from quarterturn.methods.registry import build_classification
from quarterturn.pages.classifier_tables import MEASURES, start_words
from quarterturn.pages.tables import percent
from quarterturn.runs import RESULTS, Run
from quarterturn.runs.prepare import tell_memory, wants_tensorboard
from quarterturn.runs.training import prepare_training
from quarterturn.runs.training_images import count_trained_on
from quarterturn.runs.without_effect import never_in_force

logger = logging.getLogger(__name__)


def train_classifier(run: Run, examples: TrainTestSplit, runtime: Runtime) -> None:
    """Train to the end, from where the last checkpoint is, and write what came out.

    Args:
        run: The run, whose directory is there.
        examples: Its images.
        runtime: Where it is computed.
    """
    config = run.config
    tell_memory(run, examples.train, runtime)
    counts = torch.from_numpy(examples.class_counts)
    method = build_classification(config, counts, device=runtime.device)
    if run.start is not None and not run.checkpoint.exists():
        pretrained = Run.open(run.start).load_network().backbone
        method.network.backbone.load_state_dict(pretrained.state_dict())
    training = prepare_training(
        config,
        examples.train,
        runtime,
        method=method,
        source=examples.split.source,
        chances=examples.chances(config.classifier.resample, config.balance.beta),
        checkpoint=run.checkpoint,
        metrics=run.metrics,
        tensorboard=run.path / "tensorboard" if wants_tensorboard(config, runtime) else None,
    )
    if training.step >= training.total_steps and (run.path / RESULTS).exists():
        logger.info(f"{run.path} is finished: nothing to do")
        return
    learned: dict[str, int | None] = {}
    if run.start is not None and runtime.is_main:
        learned = count_trained_on(run.start, examples.test, str(run.data))
    _introduce(run, examples, runtime, training)
    if words := start_words(learned):
        logger.info(words)

    failed: dict[str, str] = {}
    last: dict[str, Any] = {}
    every = config.run.diagnostics_every or max(1, config.run.epochs // 10)

    def after_epoch(done: int) -> None:
        due = config.run.diagnostics and done % every == 0
        if runtime.is_main and (due or done == config.run.epochs):
            figures = tested(method, examples, config, runtime, failed)
            training.telemetry.record(
                "evaluation",
                step=training.step - 1,
                epoch=done,
                **{name: figures[name] for name in MEASURES},
            )
            logger.info(
                f"after epoch {done}: top-1 {percent(figures['top1'])}, balanced "
                f"{percent(figures['balanced'])}, worst class {figures['worst_class_name']} "
                f"{percent(figures['worst_class'])}"
            )
            if done == config.run.epochs:
                last.update(figures)

    training.after_epoch = after_epoch
    with training.telemetry:
        fit(training)
    if runtime.is_main:
        failed.update({examples.train.names[i]: why for i, why in training.batches.failed.items()})
        # A run of no epochs, or one that was interrupted right at its end, was not tested above.
        figures = last or tested(method, examples, config, runtime, failed)
        conclude(run, examples, figures, failed, learned)
    runtime.barrier()


def _introduce(run: Run, examples: TrainTestSplit, runtime: Runtime, training: Training) -> None:
    """Say what is about to happen."""
    config, settings = run.config, run.config.classifier
    for line in examples.split.source.summary():
        logger.info(line)
    begun = "from scratch" if run.start is None else f"from {run.start}"
    parameters = sum(p.numel() for p in training.method.network.parameters() if p.requires_grad)
    rules = f"re-weighting {settings.reweight}, resampling {settings.resample}"
    logger.info(
        f"{examples.words()}\n"
        f"{settings.loss}, {rules}; {config.model.backbone} {begun} at {config.data.image_size} "
        f"px, {parameters / 1e6:.2f} million parameters to train\n"
        f"{config.run.epochs} epochs of {training.batches.steps_per_epoch} steps, on "
        f"{runtime.device} in {runtime.precision}; run directory {run.path}"
    )
    for warning in never_in_force(config):
        logger.warning(warning)
    if training.step:
        logger.info(f"going on after step {training.step}")
