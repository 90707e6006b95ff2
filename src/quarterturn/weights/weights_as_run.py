"""Weights in place of a run, for commands that need no more than a backbone."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from quarterturn.engine.runtime import num_processes
from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.runs import Imported, Run, next_directory
from quarterturn.weights.start import open_start, run_directory, write_weights
from quarterturn.weights.timm_weights import TIMM

logger = logging.getLogger(__name__)

_known: dict[tuple[str | int, ...], Run] = {}
"""The runs of weights that this process has used, so that it reads and hashes a file once."""


def as_run(
    run: Path | str, data: Path | str | None, *, option: str = "DATA", download: bool = False
) -> Path:
    """The directory of a command's RUN; weights in its place are imported first.

    So a command calls this after it has checked its own options: what it refuses leaves nothing.

    Args:
        run: The run directory, a checkpoint in one, a file of weights, or ``timm:NAME``.
        data: The images that were given; weights have none of their own.
        option: By which option they are given.
        download: Fetch timm's weights where its cache has none.

    Raises:
        CheckpointError: The weights cannot be read.
        ConfigError: There are no images; several processes would import the weights.
    """
    if (directory := run_directory(run)) is not None:
        return directory
    if data is None:
        raise ConfigError(f"{run} holds weights, and no images came with them: give {option}")
    return run_of(run, download=download).path


def run_of(weights: Path | str, *, download: bool = False) -> Run:
    """The run of a file of weights, or of ``timm:NAME``.

    They are imported to ``runs/<name>-<n>``, where features and probes have their place, and found
    there by their hash the next time.

    Args:
        weights: The file, or ``timm:NAME``.
        download: Fetch timm's weights where its cache has none.

    Raises:
        CheckpointError: The weights cannot be read.
        ConfigError: Several processes would import them.
    """
    key = _key(str(weights))
    if key not in _known or not _is_there(_known[key]):
        _known[key] = _found_or_imported(str(weights), download)
    return _known[key]


def _key(words: str) -> tuple[str | int, ...]:
    """What changes where these words mean other weights, or another folder ``runs``."""
    if words.startswith(TIMM):
        return os.getcwd(), words
    file = os.stat(words)
    return os.getcwd(), words, file.st_mtime_ns, file.st_size


def _is_there(run: Run) -> bool:
    """Whether the run of weights is where it was."""
    with suppress(CheckpointError):
        return Run.open(run.path).imported == run.imported
    return False


def _found_or_imported(words: str, download: bool) -> Run:
    start = open_start(words, download=download)
    for file in sorted(Path("runs").glob("*/config.json")):
        with suppress(CheckpointError):
            run = Run.open(file.parent)
            if run.kind == "import" and _same(run.imported, start.run.imported):
                logger.info(f"{words}: imported before, as {run.path}")
                return run
    of_timm = words.startswith(TIMM)
    if num_processes() > 1:
        advice = f"quarterturn import {words} --out RUN, and give that"
        raise ConfigError(
            f"{words} is no run, and several processes would import it: "
            + ("use it once in one process first, which makes the run" if of_timm else advice)
        )
    name = words.removeprefix(TIMM) if of_timm else Path(words).stem
    run = start.run.at(next_directory(name))
    write_weights(run, start.network, start.epochs)
    logger.info(f"{words}: imported as {run.path}")
    return run


def _same(one: Imported | None, other: Imported | None) -> bool:
    """Whether two imports are of the same file, read in the same way."""
    if one is None or other is None:
        return False
    return (one.sha256, one.layout, one.part) == (other.sha256, other.layout, other.part)
