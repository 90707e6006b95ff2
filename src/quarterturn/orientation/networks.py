"""Rotation networks trained on folds; each image is scored by the one that has not seen it.

Shapes: n images of a fold; V views of each; logits (n, V, 4, 4), copy by turn.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import Config
from quarterturn.data.imageset import ImageSet
from quarterturn.data.sources import Source
from quarterturn.data.views import list_views
from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.engine.loop import Training, fit
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError, DataError
from quarterturn.files import atomic_write
from quarterturn.orientation.folds import Fold, part_in_folds
from quarterturn.orientation.temperature import fit_temperature, mean_probabilities, rotation_nll
from quarterturn.orientation.view_logits import look
from quarterturn.randomness import permutation
from quarterturn.runs import Run
from quarterturn.runs.training import prepare_training

OUTCOME = "outcome.npz"
"""Name of the file of a fold's outcome, in its run directory."""
MOST_IN_FOLD = 1000
"""Images that a network scores of those it was trained on, at most."""


@dataclass(frozen=True)
class FoldOutcome:
    """What one network says.

    Attributes:
        numbers: (n,) held-out images that could be read.
        logits: (n, V, 4, 4) of them, by the network at its early stop.
        last_logits: (n, 1, 4, 4) by the network of the last epoch, centre crop.
        validation_logits: (m, V, 4, 4) of the validation images; they set the temperature.
        seen_numbers: (s,) images that the network was trained on, at most 1,000 of them.
        seen_logits: (s, 1, 4, 4) of them, centre crop.
        epoch: Epochs done at the early stop.
    """

    numbers: NDArray[np.int64]
    logits: Tensor
    last_logits: Tensor
    validation_logits: Tensor
    seen_numbers: NDArray[np.int64]
    seen_logits: Tensor
    epoch: int

    def write(self, path: Path) -> None:
        """Write an ``.npz`` file, atomically."""
        arrays: dict[str, Any] = {f.name: np.asarray(getattr(self, f.name)) for f in _FIELDS}
        with atomic_write(path) as file:
            np.savez(file, **arrays)

    @classmethod
    def read(cls, path: Path) -> FoldOutcome:
        """Read what `write` wrote."""
        with np.load(path) as arrays:
            values: dict[str, Any] = {f.name: arrays[f.name] for f in _FIELDS}
        for name in values:
            if name.endswith("logits"):
                values[name] = torch.from_numpy(values[name])
        return cls(**values | {"epoch": int(values["epoch"])})


_FIELDS = dataclasses.fields(FoldOutcome)


def fold_run(path: Path, number: int) -> Path:
    """The run directory of a fold's network, within that of the whole."""
    return path / f"fold-{number}"


def stopped_checkpoint(run: Run) -> Path:
    """The checkpoint of a fold's network at its early stop."""
    return run.path / "checkpoints" / "stopped.ckpt"


def cross_fit(
    whole: Run, images: ImageSet, runtime: Runtime, *, source: Source
) -> list[FoldOutcome] | None:
    """Train the network of every fold and let it score what it has not seen.

    A fold that is done is not done again, and one that was interrupted goes on.

    Args:
        whole: Its directory holds the folds' runs; its configuration is theirs.
        images: All N images.
        runtime: Device, precision, processes.
        source: Where the images are from.

    Returns:
        What each fold's network says; None to all processes but the first.
    """
    config = whole.config
    if config.method.method != "rotnet":
        raise ConfigError(f"cross-fitting trains rotnet, not {config.method.method}")
    folds = part_in_folds(
        images, config.upright.folds, validation=config.upright.validation, seed=config.run.seed
    )
    outcomes = []
    for number, fold in enumerate(folds):
        path = fold_run(whole.path, number)
        train = images.subset(fold.train)
        run = Run(path, whole.data, config, train.fingerprint(), "fold")
        outcome = path / OUTCOME
        if not outcome.exists():
            if runtime.is_main and not (path / "config.json").exists():
                shutil.rmtree(path, ignore_errors=True)  # begun, but killed before it had settings
                run.create()
            runtime.barrier()
            training = _train(
                run,
                train,
                images.subset(fold.validation),
                runtime,
                source=source,
                title=f"fold {number + 1} of {len(folds)}",
            )
            if runtime.is_main:
                _ask(run, training, images, fold, runtime).write(outcome)
            runtime.barrier()
        if runtime.is_main:
            outcomes.append(FoldOutcome.read(outcome))
    return outcomes if runtime.is_main else None


def _train(
    run: Run,
    train: ImageSet,
    validation: ImageSet,
    runtime: Runtime,
    *,
    source: Source,
    title: str,
) -> Training:
    """Train one network to its last epoch or its early stop."""
    config = run.config
    training = prepare_training(
        config,
        train,
        runtime,
        source=source,
        checkpoint=run.checkpoint,
        metrics=run.metrics,
        description=title,
    )
    network, telemetry = training.method.network, training.telemetry
    centre = list_views(config.data, 1)[:1]

    def after_epoch(done: int) -> bool:
        stop = False
        if runtime.is_main:
            _, logits = look(
                network,
                validation,
                config.data,
                centre,
                device=runtime.device,
                workers=config.machine.workers,
                failed={},
            )
            telemetry.record("validation", step=training.step - 1, epoch=done, **_measure(logits))
            losses = _validation_losses(run)
            if int(np.argmin(losses)) == len(losses) - 1:
                state = {"network": network.state_dict(), "epoch": done}
                save_checkpoint(stopped_checkpoint(run), state)
            stop = _has_to_stop(losses, config)
        return bool(runtime.gather_objects(stop)[0])

    training.after_epoch = after_epoch
    with telemetry:  # cuts off the lines that the checkpoint does not know of
        stopped = runtime.is_main and _has_to_stop(_validation_losses(run), config)
        if not runtime.gather_objects(stopped)[0]:
            fit(training)
    return training


def _measure(logits: Tensor) -> dict[str, float]:
    if len(logits) == 0:
        raise DataError("none of the images that validate a fold's network can be decoded")
    temperature = fit_temperature(logits)
    accuracy = (logits[:, 0].argmax(dim=2) == torch.arange(4)).float().mean()
    return {
        "loss": rotation_nll(mean_probabilities(logits, temperature)),
        "temperature": temperature,
        "rotation_accuracy": float(accuracy),
    }


def _validation_losses(run: Run) -> list[float]:
    """Of the epochs that are done, in the log that is open or was closed."""
    return [line["loss"] for line in run.read_metrics("validation")]


def _has_to_stop(losses: list[float], config: Config) -> bool:
    """Whether the loss at the best temperature has not improved for too many epochs."""
    if not losses:
        return False
    waited = len(losses) - 1 - int(np.argmin(losses))
    return waited >= config.upright.patience * config.run.epochs


def _ask(
    run: Run, training: Training, images: ImageSet, fold: Fold, runtime: Runtime
) -> FoldOutcome:
    """Let a trained network score its images, at its last epoch and at its early stop."""
    crop = run.config.data
    views = list_views(crop, run.config.upright.view_crops)
    there: Any = {"device": runtime.device, "workers": run.config.machine.workers, "failed": {}}
    held_out = images.subset(fold.held_out)
    network = training.method.network
    _, last_logits = look(network, held_out, crop, views[:1], **there)
    # The weights at the early stop take the place of the last ones; the training is over.
    network.load_state_dict(run.load_network(stopped_checkpoint(run)).state_dict())
    read, logits = look(network, held_out, crop, views, **there)
    validation = images.subset(fold.validation)
    _, validation_logits = look(network, validation, crop, views, **there)
    drawn = permutation(len(fold.train), run.config.run.seed, "in fold")[:MOST_IN_FOLD]
    seen = fold.train[np.sort(drawn.numpy())]
    seen_read, seen_logits = look(network, images.subset(seen), crop, views[:1], **there)
    return FoldOutcome(
        fold.held_out[read],
        logits,
        last_logits,
        validation_logits,
        seen[seen_read],
        seen_logits,
        epoch=1 + int(np.argmin(_validation_losses(run))),
    )
