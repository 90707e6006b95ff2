"""Checkpoints: the whole state of a training in one file."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from quarterturn.errors import CheckpointError, OutputError
from quarterturn.files import atomic_write, remove_abandoned


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically; a full disk or a kill leaves the one before it whole.

    Args:
        path: The file.
        state: Tensors, numbers, strings, and lists and dicts of them.

    Raises:
        CheckpointError: It cannot be written; says which checkpoint is left.
    """
    try:
        remove_abandoned(path)
        with atomic_write(path) as file:
            torch.save(state, file)
    except OutputError as error:
        rest = (
            "the previous checkpoint is whole, and the training resumes from it"
            if path.exists()
            else "there is no earlier checkpoint"
        )
        raise CheckpointError(f"{error}; {rest}") from error


def load_checkpoint(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Read a checkpoint on the CPU, unpickling nothing but tensors and plain values.

    Args:
        path: The file.
        mapped: Leave tensors on the disk until they are looked at.

    Raises:
        CheckpointError: There is none, or it is not whole, or it holds other objects.
    """
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {error}") from error
