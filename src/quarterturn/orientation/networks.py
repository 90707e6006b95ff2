"""Rotation networks trained on folds; each image is scored by the one that has not seen it.

Shapes: n images of a fold; V views of each; logits (n, V, 4, 4), copy by turn.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.data.imageset import ImageSet
from quarterturn.data.source import Source
from quarterturn.data.views import list_views
from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.engine.loop import Training
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import CheckpointError, ConfigError, DataError
from quarterturn.files import atomic_write
from quarterturn.kept_files import read_arrays
from quarterturn.methods.base import Method, Network
from quarterturn.methods.build import build_method
from quarterturn.methods.rotnet_options import RotNetOptions
from quarterturn.orientation.folds import Fold, split_into_folds
from quarterturn.orientation.temperature import fit_temperature, mean_probabilities, rotation_nll
from quarterturn.orientation.view_logits import view_logits
from quarterturn.progress import stage
from quarterturn.randomness import permutation
from quarterturn.runs import Run
from quarterturn.runs.bound_settings import settings_record
from quarterturn.runs.life_cycle import REHEARSED_IMAGES, TrainingFiles, TrainingJob, train

logger = logging.getLogger(__name__)

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
        epoch: Epochs done at the early stop; 0 of a head that was fitted at once.
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
        """Read what `write` wrote.

        Raises:
            CheckpointError: The file is damaged, or no such file.
        """
        try:
            arrays = read_arrays(path)
            values: dict[str, Any] = {f.name: arrays[f.name] for f in _FIELDS}
        except (CheckpointError, KeyError) as error:
            reason = f"{path} has no {error}" if isinstance(error, KeyError) else str(error)
            raise CheckpointError(
                f"{reason}; delete it and resume, and the fold's images are scored again"
            ) from error
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

    A fold that is done is not done again, and one that was interrupted resumes.

    Args:
        whole: Its directory holds the folds' runs; its configuration is theirs.
        images: All N images.
        runtime: Device, precision, processes.
        source: Where the images are from.

    Returns:
        What each fold's network says; None to all processes but the first.
    """
    config = whole.config
    if not isinstance(config.method, RotNetOptions):
        raise ConfigError(f"cross-fitting trains rotnet, not {config.method.name}")
    folds = split_into_folds(
        images, config.upright.folds, validation=config.upright.validation, seed=config.run.seed
    )
    outcomes = []
    with stage("folds", total=len(folds), weight=90) as bar:
        for number, fold in enumerate(folds):
            path = fold_run(whole.path, number)
            if has_outcome(path, runtime):
                bar.skip()
            else:
                run = begin_fold(whole, number, fold, images, runtime)
                name = f"fold {number + 1} of {len(folds)}"
                with stage(name, total=100):
                    train(FoldTraining.of(run, fold, images, runtime, source, name))
            if runtime.is_main:
                outcomes.append(FoldOutcome.read(path / OUTCOME))
    return outcomes if runtime.is_main else None


def begin_fold(whole: Run, number: int, fold: Fold, images: ImageSet, runtime: Runtime) -> Run:
    """The run of a fold's network, with its directory."""
    path = fold_run(whole.path, number)
    run = Run(path, whole.data, whole.config, images.subset(fold.train).fingerprint(), "fold")
    if runtime.is_main and not (path / "config.json").exists():
        # Earlier versions left folders without settings when they were killed.
        shutil.rmtree(path, ignore_errors=True)
        run.create()
    runtime.barrier()
    return run


def has_outcome(path: Path, runtime: Runtime) -> bool:
    """Whether a fold is done; a damaged outcome is made again, which is logged."""
    found = (path / OUTCOME).exists()
    if found and runtime.is_main:
        try:
            FoldOutcome.read(path / OUTCOME)
        except CheckpointError:
            logger.warning(f"{path / OUTCOME} is damaged, so the fold's images are scored again")
            found = False
    return bool(runtime.gather_objects(found)[0])


@dataclass(frozen=True, kw_only=True)
class FoldTraining(TrainingJob[Method]):
    """Trains the network of a fold until it stops improving, and lets it score its images.

    Attributes:
        run: The fold's run directory.
        fold: Numbers of its images.
        collection: All N images.
    """

    run: Run
    fold: Fold
    collection: ImageSet

    @classmethod
    def of(
        cls, run: Run, fold: Fold, images: ImageSet, runtime: Runtime, source: Source, name: str
    ) -> FoldTraining:
        """The training of a fold's run."""
        return cls(
            config=run.config,
            images=images.subset(fold.train),
            runtime=runtime,
            source=source,
            files=TrainingFiles.of_run(run),
            name=name,
            weight=85,
            run=run,
            fold=fold,
            collection=images,
        )

    def build_method(self) -> Method:
        """A plain rotation network."""
        return build_method(
            self.config,
            len(self.images),
            device=self.runtime.device,
            mean_over_processes=self.runtime.mean,
        )

    def rehearse_evaluation(self, training: Training[Method]) -> float:
        """Validate on a few images; see `TrainingJob.rehearse_evaluation`."""
        number = len(self.fold.validation)
        few = self.fold.validation[:REHEARSED_IMAGES]
        view_logits(
            training.method.network,
            self.collection.subset(few),
            self.config.data,
            list_views(self.config.data, 1)[:1],
            device=self.runtime.device,
            workers=self.config.machine.num_workers,
            failed={},
        )
        return number / len(few)

    @property
    def evaluate_every(self) -> int:
        """Validation follows every epoch."""
        return 1

    def evaluate(self, training: Training[Method], epochs_done: int) -> None:
        """Measure the validation images, and keep the network if it is the best so far."""
        network = training.method.network
        _, logits = view_logits(
            network,
            self.collection.subset(self.fold.validation),
            self.config.data,
            list_views(self.config.data, 1)[:1],
            device=self.runtime.device,
            workers=self.config.machine.num_workers,
            failed={},
        )
        training.telemetry.record(
            "validation", step=training.step - 1, epoch=epochs_done, **measure_turns(logits)
        )
        losses = _validation_losses(self.run)
        if int(np.argmin(losses)) == len(losses) - 1:
            state = {"network": network.state_dict(), "epoch": epochs_done}
            state |= settings_record(self.config)
            save_checkpoint(stopped_checkpoint(self.run), state)

    def has_to_stop(self) -> bool:
        """Whether the loss at the best temperature has not improved for too many epochs."""
        losses = _validation_losses(self.run)
        if not losses:
            return False
        waited = len(losses) - 1 - int(np.argmin(losses))
        return waited >= self.config.upright.patience * self.config.run.epochs

    def conclude(self, training: Training[Method]) -> None:
        """Score the held-out images, and write what comes out."""
        outcome = _score(self.run, training.method.network, self.collection, self.fold)
        outcome.write(self.run.path / OUTCOME)


def measure_turns(logits: Tensor) -> dict[str, float]:
    """(n, V, 4, 4) logits of validation images to the loss at the best temperature, and accuracy.

    Raises:
        DataError: There is no image.
    """
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


def draw_seen(fold: Fold, seed: int) -> NDArray[np.int64]:
    """Some of the training images, which the network scores too."""
    drawn = permutation(len(fold.train), seed, "in fold")[:MOST_IN_FOLD]
    return fold.train[np.sort(drawn.numpy())]


def _score(run: Run, network: Network, images: ImageSet, fold: Fold) -> FoldOutcome:
    """Let a trained network score its images, at its last epoch and at its early stop."""
    crop = run.config.data
    views = list_views(crop, run.config.upright.view_crops)
    device = next(network.parameters()).device
    there: Any = {"device": device, "workers": run.config.machine.num_workers, "failed": {}}
    held_out, validation = images.subset(fold.held_out), images.subset(fold.validation)
    seen = draw_seen(fold, run.config.run.seed)
    in_one_view = len(held_out) + len(seen)
    in_all_views = len(held_out) + len(validation)
    with stage("scores", total=in_one_view + len(views) * in_all_views, weight=15):
        _, last_logits = view_logits(network, held_out, crop, views[:1], **there)
        # The weights at the early stop take the place of the last ones; the training is over.
        network.load_state_dict(run.load_network(stopped_checkpoint(run)).state_dict())
        read, logits = view_logits(network, held_out, crop, views, **there)
        _, validation_logits = view_logits(network, validation, crop, views, **there)
        seen_read, seen_logits = view_logits(network, images.subset(seen), crop, views[:1], **there)
    return FoldOutcome(
        fold.held_out[read],
        logits,
        last_logits,
        validation_logits,
        seen[seen_read],
        seen_logits,
        epoch=1 + int(np.argmin(_validation_losses(run))),
    )
