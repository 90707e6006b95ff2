"""Which of a file's tensors are the network: those below one common prefix.

Training codes keep a network as a part of something larger: ``backbone.conv1.weight``,
``module.encoder_q.conv1.weight``, ``student.conv1.weight``. One prefix is taken off where the rest
is a network that is known; where there are several such prefixes, a trained network comes before a
moving average of its weights, and of two trained ones the user chooses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.methods.build import build_network
from quarterturn.weights.layouts import Layout, recognise

OF_AVERAGES = {"ema", "momentum", "teacher", "target", "averaged"}
"""Words in the names of networks whose weights are moving averages; MoCo's is ``encoder_k``."""


@dataclass(frozen=True)
class Part:
    """A network among the tensors of a file.

    Attributes:
        prefix: What its names begin with in the file; empty for the file as a whole.
        tensors: Its tensors, without the prefix.
        others: The names of all other tensors.
    """

    prefix: str
    tensors: dict[str, Tensor]
    others: tuple[str, ...]

    @property
    def words(self) -> str:
        """What was taken, as a sentence; empty for the whole file."""
        if not self.prefix:
            return ""
        taken = f"took the {len(self.tensors):,} tensors that begin with '{self.prefix}'"
        if not self.others:
            return taken
        return f"{taken}, without the other {len(self.others):,} ({beginnings(self.others)})"


def network_in(
    tensors: dict[str, Tensor],
    backbone: str | None = None,
    *,
    prefix: str | None = None,
    averaged: bool = False,
) -> Part:
    """The network among the tensors of a file.

    Args:
        tensors: All of them.
        backbone: Our backbone for the weights; required only for ``timm:NAME``.
        prefix: What the names of the network begin with; None to look for it.
        averaged: Take a moving average of the weights, in place of the weights themselves.

    Raises:
        CheckpointError: No tensor has the prefix; or there are several networks.
        ConfigError: There are no moving averages.
    """
    if prefix is not None:
        return _below(tensors, _known_prefix(tensors, prefix))
    found = _prefixes(tensors, backbone)
    averages = [each for each in found if _is_average(each)]
    trained = [each for each in found if each not in averages]
    if averaged and not averages:
        raise ConfigError(
            "--ema: there are no moving averages of the weights in this file, neither as "
            f"state_dict_ema, model_ema or teacher nor by their names ({beginnings(tensors)}); "
            "leave it out"
        )
    fitting = averages if averaged else trained or averages
    if len(fitting) > 1:
        raise CheckpointError(
            f"there are {len(fitting)} networks in this file: choose one with "
            + " or ".join(f"--prefix {each}" for each in fitting)
        )
    # Where none fits, the file as a whole is what the message is about.
    return _below(tensors, fitting[0] if fitting else "")


def beginnings(names: Iterable[str], most: int = 5) -> str:
    """The first words of names, each once: ``encoder_k., queue``."""
    found = list(dict.fromkeys(re.sub(r"\..*", ".", name) for name in names))
    return ", ".join(found[:most] + (["..."] if len(found) > most else []))


def _known_prefix(tensors: dict[str, Tensor], prefix: str) -> str:
    """The prefix as the names have it: with its dot, and without ``module.``."""
    given = prefix.rstrip(".") + "."
    for each in (given, given.removeprefix("module.")):
        if any(name.startswith(each) for name in tensors):
            return each
    raise CheckpointError(
        f"no tensor begins with '{given}', which --prefix asks for; they begin with "
        f"{beginnings(tensors)}"
    )


def _prefixes(tensors: dict[str, Tensor], backbone: str | None) -> list[str]:
    """The prefixes below which there is a network; if none is whole, one that looks like it."""
    if backbone is not None and backbone.startswith("timm:"):
        needed = _needed(recognise(tensors, backbone))
        (first, *_) = needed
        ends = [name.removesuffix(first) for name in tensors if name.endswith(first)]
        return [p for p in ends if p[-1:] in ("", ".") and all(p + n in tensors for n in needed)]
    parts = {name[: dot.end()] for name in tensors for dot in re.finditer(r"\.", name)}
    layouts: dict[str, Layout] = {}
    for prefix in ("", *sorted(parts)):
        try:
            layouts[prefix] = recognise(_below(tensors, prefix).tensors, backbone)
        except (CheckpointError, ConfigError):
            continue
        if not prefix:
            return [""]
    whole = [p for p, layout in layouts.items() if all(p + n in tensors for n in _needed(layout))]
    return whole or [*layouts][:1]


def _needed(layout: Layout) -> list[str]:
    """The names of all weights that a layout's network has there."""
    with torch.device("meta"):
        network = build_network(layout.config)
    network.keep_heads(layout.heads)
    names = [name for name in network.state_dict() if not name.endswith(".num_batches_tracked")]
    return [layout.theirs(name) for name in names]


def _is_average(prefix: str) -> bool:
    return "encoder_k." in prefix or not OF_AVERAGES.isdisjoint(re.split(r"[._]", prefix))


def _below(tensors: dict[str, Tensor], prefix: str) -> Part:
    found = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    return Part(prefix, found, tuple(name for name in tensors if not name.startswith(prefix)))
