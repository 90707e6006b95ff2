"""Read other codes' files of tensors, without executing anything in them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from quarterturn.errors import CheckpointError
from quarterturn.kept_files import check_archive

WRAPPERS = ("network", "state_dict", "model", "model_state_dict", "student")
"""Keys under which a checkpoint may hold its state dict: the original codes', timm's, DINO's."""

AVERAGES = ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "ema_model", "teacher")
"""Keys under which it may hold moving averages of the weights."""


@dataclass(frozen=True)
class TensorFile:
    """The tensors of a file.

    Attributes:
        tensors: Tensors by name, without the prefix ``module.`` of parallel training.
        epochs: Epochs of training, if the file says so.
        key: Under which the tensors were in the file; empty where they were its whole.
        averaged: Whether they are moving averages of the weights.
        words: What was taken where there was a choice, as a sentence.
    """

    tensors: dict[str, Tensor]
    epochs: int | None = None
    key: str = ""
    averaged: bool = False
    words: str = ""


def read_tensors(path: Path, *, averaged: bool = False) -> TensorFile:
    """Read a ``.safetensors`` file, or a file saved by torch in its zip or its older format.

    Tensors saved on a GPU are loaded on the CPU.

    Args:
        path: The file.
        averaged: Take moving averages of the weights where the file has them beside the weights.

    Raises:
        CheckpointError: There is no such file, it is damaged, or it holds more than tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"no file at {path}")
    if path.suffix == ".safetensors":
        try:
            return TensorFile(load_file(path))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged, or no safetensors file: {error}") from error
    stored = _unpickled(path)
    if not isinstance(stored, dict):
        raise CheckpointError(f"{path} holds a {type(stored).__name__}; expected named tensors")
    averages = [key for key in AVERAGES if _holds_tensors(stored.get(key))]
    plain = [key for key in WRAPPERS if key in stored]
    if "optimizer" in stored and not (plain or averages):
        raise CheckpointError(_optimizer_words(path, stored))
    keys = averages if averaged and averages else plain or averages
    inner = stored[keys[0]] if keys else stored
    if not isinstance(inner, dict) or not inner:
        raise CheckpointError(f"{path} holds no tensors: a {type(inner).__name__}, perhaps empty")
    others = [str(name) for name, value in inner.items() if not isinstance(value, Tensor)]
    if set(inner) == {"state", "param_groups"}:
        raise CheckpointError(_optimizer_words(path, stored))
    if others:
        raise CheckpointError(
            f"{path} holds other things than tensors: {', '.join(others[:5])}; expected a state "
            'dict, or {"epoch": number, "network": state dict}'
        )
    epochs = stored.get("epoch")
    if all(name.startswith("module.") for name in inner):
        inner = {name.removeprefix("module."): tensor for name, tensor in inner.items()}
    return TensorFile(
        dict(inner),
        epochs if isinstance(epochs, int) else None,
        keys[0] if keys else "",
        averaged=bool(keys) and keys[0] in averages,
        words=_choice(keys, plain, averages),
    )


def _optimizer_words(path: Path, stored: dict[str, Any]) -> str:
    """That a file is an optimizer's, and which one has the weights."""
    epoch = stored.get("epoch")
    of = f" after epoch {epoch}" if isinstance(epoch, int) else ""
    name = path.name.replace("_optim", "")
    weights = name if "_optim" in path.name else "feature_net_epoch245"
    return (
        f"{path} holds the state of an optimizer{of}: momentum and learning rates, no weights; "
        f"expected the network's own file, such as {weights}. Only the original code can resume "
        "from an optimizer's state"
    )


def _module_words(path: Path, module: str) -> str:
    """That a file is a pickled module: in the original's case, of the memory bank."""
    refused = (
        f"{path} is refused: it holds the Python object {module}, and unpickling objects runs code "
        "from the file"
    )
    if "nce" in path.name or module.rpartition(".")[2] in ("NCEAverage", "AliasMethod"):
        return (
            f"{refused}. By its name this is the memory bank of the original code, whole with its "
            "class: one embedding per training image, which only a resumed training needs; "
            "expected the network's weights, in feature_net_epochN beside it"
        )
    return (
        f"{refused}; expected only tensors: a state dict, which torch.save(network.state_dict()) "
        "writes. Of the original code, feature_net_epochN has the weights"
    )


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(each, Tensor) for each in value.values())


def _choice(keys: list[str], plain: list[str], averages: list[str]) -> str:
    """What was taken, where the file has moving averages."""
    if not averages:
        return ""
    if keys[0] not in averages:
        return f"took '{keys[0]}', not the moving averages in '{averages[0]}', which --ema takes"
    if plain:
        return f"took the moving averages in '{keys[0]}', not '{plain[0]}'"
    return f"took '{keys[0]}', moving averages: the file has no other weights"


def _unpickled(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, just before the refusal
            check_archive(path, unchecked=True)
            return torch.load(path, map_location="cpu", weights_only=True)
    # A damaged pickle may raise whatever the unpickler stumbles over.
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
    ) as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            # torch's own message advises to unpickle it anyway.
            raise CheckpointError(_module_words(path, found[1])) from error
        raise CheckpointError(
            f"{path} is damaged or truncated, or no file of tensors that torch has saved"
        ) from error
