"""Put a training into the state of its last checkpoint, or say why that cannot be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from quarterturn.engine.checkpoint import load_checkpoint, not_finite, unusable
from quarterturn.engine.loop import Training
from quarterturn.errors import CheckpointError
from quarterturn.methods.configuration import Config
from quarterturn.runs.bound_settings import require_settings


def restore(
    training: Training[Any], path: Path, config: Config, class_names: Sequence[str] = ()
) -> None:
    """Continue where a checkpoint was written.

    Args:
        training: As it is at its start.
        path: The checkpoint.
        config: The run's settings.
        class_names: Of a classifier, in the order of its logits.

    Raises:
        CheckpointError: It is damaged, of something else, or not finite; says what can be done.
    """
    previous = training.previous
    # Mapped, and copied in place: a large memory bank is never in memory twice.
    state = load_checkpoint(path, previous=previous, mapped=True)
    require_settings(state, config, path, class_names)
    try:
        _require_plain_values(state, training.total_steps)
        training.load_state_dict(state)
        _require_shapes(training.optimizer)
    except CheckpointError as error:
        raise unusable(path, f"does not fit: {error}", previous) from error
    # What a state dict of other shapes, names or types raises is not documented.
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else _brief(error)
        raise unusable(path, f"is not of such a training: {reason}", previous) from error
    others = {"optimizer": training.optimizer.state_dict(), "method": training.method.state_dict()}
    if name := not_finite(training.method.network, others):
        raise unusable(path, f"holds values that are not finite ({name})", previous)
    training.telemetry.last_checkpoint = f"{path} (step {training.step})"


def _require_plain_values(state: Mapping[str, Any], total_steps: int) -> None:
    """Check the numbers of a checkpoint, which anything would be made of."""
    step, log = state["step"], state["telemetry"]
    if type(step) is not int or not 0 <= step <= total_steps:
        raise CheckpointError(f"step is {step!r}; expected 0 to {total_steps}")
    for name in ("bytes", "last_step"):
        if type(log[name]) is not int or log[name] < -1:
            raise CheckpointError(f"telemetry: {name} is {log[name]!r}; expected a whole number")
    if not isinstance(log["elapsed_s"], float | int) or not log["elapsed_s"] >= 0:
        raise CheckpointError(f"telemetry: elapsed_s is {log['elapsed_s']!r}; expected seconds")


def _require_shapes(optimizer: Optimizer) -> None:
    """Torch takes any shapes from a checkpoint, and fails at the next step."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                raise CheckpointError(
                    f"{name} of the optimizer has the shape {tuple(value.shape)}; expected "
                    f"{tuple(parameter.shape)}"
                )


def _brief(error: Exception) -> str:
    """The first two lines: torch lists every tensor that does not fit."""
    return " ".join(line.strip() for line in str(error).splitlines()[:2])
