"""The lines of ``metrics.jsonl``: each a JSON object, of one kind, with numbers."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

from quarterturn.errors import CheckpointError
from quarterturn.kept_files import read_json_lines

logger = logging.getLogger(__name__)

NEEDED = {
    "train": ("loss", "images_per_s"),
    "validation": ("loss",),
    "quick_probe": ("images_seen", "chance"),
}
"""Kind of line to the numbers it must have, beside those that all lines have."""
KINDS = ("train", "diagnostics", "evaluation", "validation", "quick_probe")
OF_ALL = ("step", "epoch", "elapsed_s")


def read_metric_lines(path: Path, kind: str, *, strict: bool = False) -> list[dict[str, Any]]:
    """The lines of one kind; none where there is no such file.

    A damaged line is left out, and reported once: the log is there to be looked at.

    Args:
        path: The file.
        kind: One of `KINDS`.
        strict: Refuse a damaged line: something is decided by the lines.

    Raises:
        CheckpointError: The file cannot be read, or a line is damaged and may not be left out.
    """
    try:
        lines, damaged = read_json_lines(path)
    except FileNotFoundError:
        return []
    for number, line in lines.items():
        if words := _damage(line):
            damaged[number] = words
    if damaged:
        number = min(damaged)
        words = f"{path} is damaged: line {number:,} {damaged[number]}"
        if len(damaged) > 1:
            words += f", and {len(damaged) - 1:,} more lines"
        if strict:
            raise CheckpointError(words)
        _warn_once(f"{words}; what is damaged is left out")
    return [line for n, line in lines.items() if n not in damaged and line["kind"] == kind]


def _damage(line: dict[str, Any]) -> str:
    """What is wrong with a line; empty for nothing."""
    kind = line.get("kind")
    if not isinstance(kind, str):
        return "has no kind"
    for name in (*OF_ALL, *NEEDED.get(kind, ())):
        if not _is_number(line.get(name)):
            return f"has no number {name}"
    if kind in ("train", "validation", "evaluation"):
        for name, value in line.items():
            if name != "kind" and value is not None and not _is_number(value):
                return f"has {value!r} for {name}; expected a number"
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@cache
def _warn_once(words: str) -> None:
    logger.warning(words)
