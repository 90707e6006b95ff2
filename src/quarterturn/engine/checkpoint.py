"""Checkpoints: the whole state of a training in one file."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quarterturn.errors import CheckpointError, OutputError
from quarterturn.files import remove_abandoned, replacing
from quarterturn.kept_files import check_archive

RECOURSE = "put a copy of it back, or begin a new run"
"""What to do about a training's checkpoint that cannot be used."""


def save_checkpoint(path: Path, state: dict[str, Any], *, previous: Path | None = None) -> None:
    """Write a checkpoint atomically; a full disk or a kill leaves the one before it whole.

    Args:
        path: The file.
        state: Tensors, numbers, strings, and lists and dicts of them.
        previous: Where the checkpoint that is there now is kept; None to keep only the new one.

    Raises:
        CheckpointError: It cannot be written; says which checkpoint is left.
    """
    try:
        remove_abandoned(path)
        with replacing(path) as partial:
            with open(partial, "wb") as file:
                torch.save(state, file)
            if previous is not None and path.exists():
                _keep_also(path, previous)
    except OutputError as error:
        rest = (
            "the previous checkpoint is whole, and the training resumes from it"
            if path.exists()
            else "there is no earlier checkpoint"
        )
        raise CheckpointError(f"{error}; {rest}") from error


def load_checkpoint(
    path: Path,
    *,
    previous: Path | None = None,
    mapped: bool = False,
    checked: bool = True,
    recourse: str = RECOURSE,
) -> dict[str, Any]:
    """Read a checkpoint on the CPU, unpickling nothing but tensors and plain values.

    Args:
        path: The file.
        previous: Where the checkpoint before it is kept, for the message.
        mapped: Leave tensors on the disk until they are looked at.
        checked: Compare all of it with its checksums; otherwise only what names the tensors.
        recourse: What to do about a file that cannot be used, where there is none before it.

    Raises:
        CheckpointError: There is none, or it is not whole, or it holds other objects.
    """
    if not path.exists():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        check_archive(path, only=None if checked else "data.pkl")
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except CheckpointError as error:
        reason = str(error).removeprefix(f"{path} ")
        raise unusable(
            path, f"cannot be read as a checkpoint: it {reason}", previous, recourse
        ) from error
    except Exception as error:  # an archive that is no checkpoint may raise whatever there is
        # Of torch's own words on a forged pickle, most are advice to unpickle it anyway.
        forged = isinstance(error, pickle.UnpicklingError)
        reason = "other objects than tensors and plain values" if forged else _first_line(error)
        raise unusable(
            path, f"cannot be read as a checkpoint: {reason}", previous, recourse
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get("network"), dict):
        found = f"a {type(state).__name__}" if not isinstance(state, dict) else _names(state)
        raise unusable(path, f"holds no network: {found}", previous, recourse)
    return state


def unusable(
    path: Path, reason: object, previous: Path | None = None, recourse: str = RECOURSE
) -> CheckpointError:
    """The error for a checkpoint that cannot be used, with what can be done about it.

    Args:
        path: The checkpoint.
        reason: Follows its path.
        previous: Where the checkpoint before it is kept, if it is.
        recourse: What can be done where it is not.
    """
    if previous is not None and previous.exists():
        with suppress(CheckpointError):
            check_archive(previous)
            recourse = (
                f"the checkpoint before it is whole: to continue from it, rename {previous} to "
                f"{path.name} and resume"
            )
    return CheckpointError(f"{path} {reason}; {recourse}")


def not_finite(network: nn.Module, others: Mapping[str, Any] | None = None) -> str | None:
    """The name of a tensor that holds NaN or infinity; None where all numbers are finite.

    One reduction on the device and one transfer; which tensor it is, is looked for only then. In a
    buffer -inf may be meant: it is the log prior of a class without images.

    Args:
        network: Parameters and buffers.
        others: Nested states: of the optimizer, of the memory bank.
    """
    parameters = {f"network.{name}": value for name, value in network.named_parameters()}
    buffers = {f"network.{name}": value for name, value in network.named_buffers()}
    named = {**parameters, **buffers, **dict(_tensors(others or {}))}
    floating = {name: each.detach() for name, each in named.items() if each.is_floating_point()}
    sums: dict[torch.device, list[Tensor]] = {}
    for each in floating.values():
        sums.setdefault(each.device, []).append(each.sum(dtype=torch.float32))
    if all(bool(torch.stack(of).sum().isfinite()) for of in sums.values()):
        return None
    for name, each in floating.items():
        wrong = ~each.isfinite()
        if name in buffers:
            wrong &= ~each.isneginf()
        if bool(wrong.any()):
            return name
    return None


def _tensors(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in nested dicts and lists, with the keys that lead to them."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, Mapping | list | tuple):
        entries = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
        for key, value in entries:
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _keep_also(path: Path, previous: Path) -> None:
    """Give the file at ``path`` another name too, so that there is always one at ``path``."""
    remove_abandoned(previous)
    with replacing(previous) as second:
        try:
            os.link(path, second)
        except OSError:  # file systems such as exFAT have no hard links
            shutil.copyfile(path, second)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _names(state: dict[Any, Any]) -> str:
    return f"it has {', '.join(map(str, [*state][:5]))}" if state else "it is empty"
