"""The training loop.

Shapes: B images in a batch over all processes, of which this process has its share.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from quarterturn.config import OptimizerConfig
from quarterturn.data.batches import Batch
from quarterturn.engine.checkpoint import not_finite, save_checkpoint
from quarterturn.engine.learner import Batches, Learner
from quarterturn.engine.optimizer import rescale_momentum
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.schedule import learning_rate, phase_at, progress, warmup_factor
from quarterturn.engine.telemetry import RECOURSE, Telemetry
from quarterturn.errors import TrainingError
from quarterturn.progress import Stage, stage
from quarterturn.timing import count_step, timed

L = TypeVar("L", bound=Learner)


@dataclass
class Training(Generic[L]):
    """Everything that a training is made of, saved and loaded as one.

    Attributes:
        method: Network and losses.
        batches: The images of any epoch, or their features.
        optimizer: Over the network's parameters.
        settings: Learning rate over the epochs.
        runtime: Device, precision, processes.
        telemetry: Where figures go.
        epochs: Epochs in the whole run.
        accumulate: Parts that a batch is computed in.
        checkpoint: Where to keep the state; None keeps nothing.
        previous: Where to keep the checkpoint before that; None keeps only the last.
        about: Plain values that a checkpoint carries, such as the settings.
        checkpoint_every: Steps between checkpoints within an epoch; 0 for none.
        name: What is trained, beside the progress bar.
        weight: Steps of the stage of progress around it that the training makes up.
        after_epoch: Called by every process with the number of epochs done; diagnostics, for
            instance. It must change no state. Where it returns True, to every process alike, the
            training ends there.
        step: Steps done.
    """

    method: L
    batches: Batches
    optimizer: torch.optim.Optimizer
    settings: OptimizerConfig
    runtime: Runtime
    telemetry: Telemetry
    epochs: int
    accumulate: int = 1
    checkpoint: Path | None = None
    previous: Path | None = None
    about: dict[str, Any] = field(default_factory=dict)
    checkpoint_every: int = 0
    name: str = "training"
    weight: float = 1
    after_epoch: Callable[[int], bool | None] = lambda epochs_done: None
    step: int = 0

    @property
    def total_steps(self) -> int:
        """Steps in the whole run."""
        return self.epochs * self.batches.steps_per_epoch

    @property
    def is_finished(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self.total_steps

    def phase_at(self, epoch: float) -> range:
        """The epochs that have the schedule to themselves at a time."""
        return phase_at(epoch, self.epochs, self.settings.restarts)

    def state_dict(self) -> dict[str, Any]:
        """The whole state, of plain values and tensors."""
        return {
            **self.about,
            "step": self.step,
            "epochs_done": self.step / self.batches.steps_per_epoch,
            "network": self.method.network.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "telemetry": self.telemetry.state_dict(),
            "failed": self.batches.failed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where a checkpoint was written; keeps none of its tensors."""
        self.step = state["step"]
        self.method.network.load_state_dict(state["network"])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.telemetry.load_state_dict(state["telemetry"])
        self.batches.failed.update(state["failed"])


def fit(training: Training[L]) -> None:
    """Train from the step that is reached to the end of the last epoch, or to an early stop."""
    t, runtime = training, training.runtime
    network = runtime.wrap(t.method.network)
    if t.step == 0 and t.epochs == 0:
        require_finite(t)
        keep(t)
    with stage(t.name, total=t.total_steps, weight=t.weight) as bar:
        bar.skip(t.step)
        _train_epochs(t, network, bar)


def _train_epochs(training: Training[L], network: nn.Module, bar: Stage) -> None:
    """Train epoch after epoch, from wherever the training stands."""
    t, runtime, steps_per_epoch = training, training.runtime, training.batches.steps_per_epoch
    for epoch in range(t.step // steps_per_epoch, t.epochs):
        network.train()
        phase = t.phase_at(epoch)
        is_first = t.step % steps_per_epoch == 0
        if is_first and (news := t.method.before_epoch(epoch - phase.start, len(phase))):
            t.telemetry.record("balance", step=t.step, epoch=epoch, **news)
        batches = t.batches.epoch(epoch, first=t.step % steps_per_epoch)
        for batch in _awaited(runtime.ahead(batches)):
            counts = runtime.gather_counts(len(batch))
            rate = _rate(t, t.step)
            if t.settings.rate_in_momentum and t.step and rate != (before := _rate(t, t.step - 1)):
                rescale_momentum(t.optimizer, before / rate)
            for group in t.optimizer.param_groups:
                group["lr"] = rate * group.get("rate_scale", 1.0)
            if min(counts) >= 2:  # unreadable files drop out; batch norm needs two images
                terms = training_step(t, network, batch, min(t.accumulate, min(counts) // 2))
                t.telemetry.step(t.step, terms, sum(counts), rate)
            t.step += 1
            bar.advance(note=t.telemetry.note)
            count_step(len(batch))
            within = t.step % steps_per_epoch
            if within and t.checkpoint_every and t.step % t.checkpoint_every == 0:
                require_finite(t)
                keep(t)
        for failed in runtime.gather_objects(dict(t.batches.failed)):
            t.batches.note_failed(failed)
        require_finite(t)  # before the network is evaluated, and before it is kept
        with timed("evaluation"):
            stop = t.after_epoch(epoch + 1)
        keep(t)
        t.telemetry.restart_clock()
        if stop:
            break


def _rate(training: Training[L], step: int) -> float:
    """The learning rate of a step."""
    steps_per_epoch = training.batches.steps_per_epoch
    epoch = step / steps_per_epoch
    phase = training.phase_at(epoch)
    rate = learning_rate(epoch - phase.start, len(phase), training.settings)
    return rate * warmup_factor(step - phase.start * steps_per_epoch, training.settings)


def _awaited(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches, with the time that is waited for each."""
    while True:
        with timed("wait for data"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def training_step(
    training: Training[L], network: nn.Module, batch: Batch, parts: int = 1
) -> dict[str, Tensor]:
    """Learn from one batch.

    Args:
        training: Method, optimizer and runtime.
        network: The method's network, wrapped where there are several processes.
        batch: This process's images.
        parts: Compute the batch in this many parts, whose gradients add up.

    Returns:
        The loss and its terms, over all processes, on the device; and the rotation accuracy.
    """
    method, runtime, step = training.method, training.runtime, training.step
    epoch = step / training.batches.steps_per_epoch
    phase = training.phase_at(epoch)
    done = progress(epoch - phase.start, len(phase))
    training.optimizer.zero_grad(set_to_none=True)
    pieces = batch.split(parts)
    values, embeddings, normalizers, predicted = [], [], [], []
    for number, (piece, share) in enumerate(
        zip(pieces, shares(training, pieces, done), strict=True), start=1
    ):
        with runtime.gradients_averaged(network, now=number == parts):
            with timed("losses"), runtime.autocast():  # but the network's own part of them
                output = method.losses(network, piece, step, done)
            terms = {name: share[name] * term for name, term in output.terms.items()}
            loss = cast(
                Tensor, sum(method.term_weights[name] * term for name, term in terms.items())
            )
            with timed("backward"):
                loss.backward()
        values.append(torch.stack([loss, *terms.values()]).detach())
        if output.embeddings is not None:
            embeddings.append(output.embeddings)
        if output.normalizer is not None:
            normalizers.append(output.normalizer)
        if output.predicted is not None:
            predicted.append(output.predicted)
    with timed("optimizer"):
        if training.settings.clip_gradient:
            nn.utils.clip_grad_norm_(network.parameters(), training.settings.clip_gradient)
        training.optimizer.step()
    if embeddings:
        indices, rows = runtime.gather(batch.indices), runtime.gather(torch.cat(embeddings))
        normalizer = torch.stack(normalizers).mean() if normalizers else None
        with timed("bank"):
            method.after_step(indices, rows, normalizer)
    means = runtime.mean(torch.stack(values).sum(dim=0))
    found = dict(zip(["loss", *output.terms], means, strict=True))
    return found | _rotation_accuracy(predicted, runtime)


def _rotation_accuracy(predicted: list[Tensor], runtime: Runtime) -> dict[str, Tensor]:
    """The share of all processes' views whose turn is predicted; stays on the device."""
    if not predicted:
        return {}
    views = torch.cat([of.flatten() for of in predicted])
    right, all_views = runtime.mean(torch.stack([views.sum(), torch.ones_like(views).sum()]))
    return {"rotation_accuracy": right / all_views}


def shares(training: Training[L], pieces: list[Batch], progress: float) -> list[dict[str, Tensor]]:
    """What each piece's mean counts for in the whole batch's, of every term.

    A piece's mean is over its images, or over their weights. Scaled by these shares, the means of
    all pieces add up, and averaged over the processes they are the mean over the whole batch, as if
    one process had computed it at once.

    Args:
        training: Method and runtime.
        pieces: What this process's batch is computed in.
        progress: As `quarterturn.methods.base.Method.losses` has it.
    """
    amounts = [training.method.amounts(piece, progress) for piece in pieces]
    by_piece = torch.stack([torch.stack(list(of.values())) for of in amounts])  # (pieces, terms)
    of_whole = by_piece / training.runtime.mean(by_piece.sum(dim=0))
    return [dict(zip(of, row, strict=True)) for of, row in zip(amounts, of_whole, strict=True)]


def require_finite(training: Training[L]) -> None:
    """Stop a training whose losses, or what its last update made of them, are no longer finite.

    Raises:
        TrainingError: Names the step and what is not finite, in every process alike.
    """
    t = training
    t.telemetry.flush()
    others = {"optimizer": t.optimizer.state_dict(), "method": t.method.state_dict()}
    found = t.runtime.gather_objects(not_finite(t.method.network, others))
    if name := next(filter(None, found), None):
        raise TrainingError(
            f"the weights are no longer finite after step {t.step} ({name}), so they are not kept; "
            f"the last good checkpoint: {t.telemetry.last_checkpoint}. {RECOURSE}"
        )


def keep(training: Training[L]) -> None:
    """Write a checkpoint of the whole state; rank 0 writes for all processes."""
    if training.checkpoint is not None and training.runtime.is_main:
        with timed("checkpoint"):
            save_checkpoint(training.checkpoint, training.state_dict(), previous=training.previous)
        training.telemetry.last_checkpoint = f"{training.checkpoint} (step {training.step})"
    training.runtime.barrier()
