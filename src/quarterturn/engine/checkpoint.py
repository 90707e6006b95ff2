"""Checkpoints: written beside and renamed, so that a whole one is there at any moment."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from quarterturn.errors import CheckpointError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    The state goes to ``<name>.partial``, is flushed to the disk, and then takes the place of the
    old checkpoint. A full disk or a kill leaves the old one whole.

    Args:
        path: Where it is to be.
        state: Tensors, numbers, strings, and lists and dicts of them.

    Raises:
        CheckpointError: It could not be written; says what is left.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        kept = (
            f"the checkpoint before it is whole: {path}; free some space and go on from it"
            if path.exists()
            else "there is no earlier checkpoint"
        )
        raise CheckpointError(f"cannot write {path}: {_cause(error)}; {kept}") from error


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


def _cause(error: BaseException) -> str:
    """The operating system's words where there are any: torch wraps them in its own error."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__context__
    return str(error).split("\n")[0]
