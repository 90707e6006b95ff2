"""What a command knew and no other file of the run holds; the page is made from it."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PureWindowsPath

from quarterturn.errors import CheckpointError
from quarterturn.files import unguarded, write_json
from quarterturn.runs.closing import command_line
from quarterturn.runs.record_files import read_record, to_json
from quarterturn.runs.run import Run

FILE = "facts.json"
UNREADABLE = "unreadable: "
"""Begins the status of a file in items.csv that could not be read; the reason follows."""

ABSOLUTE_PATH = re.compile(
    r"(?<![\w.~/\\-])(?:~|[A-Za-z]:)?"  # a home directory or a drive, not amid a word
    r"(?:[/\\][^\s/\\'\"<>|:;,()]+){2,}[/\\]?"  # two names or more
)


@dataclass(frozen=True)
class Facts:
    """What a command found, in words for a page that may be handed on.

    Attributes:
        command: The command line, with the names of files in place of absolute paths.
        finished: When, with the time zone.
        data: What the data held, a line each.
        warnings: What the reader must not overlook.
    """

    command: str = ""
    finished: str = ""
    data: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def write_facts(run: Run, *, data: Sequence[str], warnings: Sequence[str]) -> None:
    """Write ``facts.json``.

    Args:
        run: The run.
        data: What the data held, a line each; indented lines, which list files one by one, are left
            out, since ``items.csv`` has them.
        warnings: What the reader must not overlook.
    """
    known = folders_of(run)
    lines = [line.rstrip(":") for line in data if not line.startswith(" ")]
    facts = Facts(
        command=shlex.join(_word_without_folders(word) for word in shlex.split(command_line())),
        finished=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        data=tuple(without_folders(line, known) for line in lines),
        warnings=tuple(without_folders(w.removeprefix("warning: "), known) for w in warnings),
    )
    write_json(run.path / FILE, to_json(facts))


def read_facts(run: Path) -> Facts:
    """What a run's command found; runs of the first version tell only what ``items.csv`` holds."""
    try:
        return read_record(run / FILE, Facts)
    except FileNotFoundError:
        return Facts(data=_counts(run))


def unreadable_files(run: Path) -> dict[str, str]:
    """Image files that could not be read, with the reason, by ``items.csv``."""
    return {
        path: status.removeprefix(UNREADABLE)
        for path, status in _statuses(run)
        if status.startswith(UNREADABLE)
    }


def without_folders(text: str, known: Sequence[str] = ()) -> str:
    """Words in which absolute paths, of any system, are cut to their last name.

    Where somebody's images lie on their machine is nobody else's business.

    Args:
        text: The words.
        known: Paths to look for first: they may hold spaces, which end a path that is not known.
    """
    for path in known:
        text = text.replace(path, _last_name(path))
    return ABSOLUTE_PATH.sub(lambda match: _last_name(match[0]), text)


def folders_of(run: Run) -> list[str]:
    """Absolute paths that texts of a run may mention, longest first."""
    given = [run.path.resolve(), *run.needed]
    paths = [path for path in given if path.is_absolute() and len(path.parts) > 1]
    return sorted({str(path) for path in paths}, key=len, reverse=True)


def _word_without_folders(word: str) -> str:
    """A word of a command line: a path, ``NAME:ROOT``, or ``--option=PATH``."""
    match = re.fullmatch(r"(.*?[=:])?((?:~|[A-Za-z]:)?[/\\].+)", word)
    return word if match is None else (match[1] or "") + _last_name(match[2])


def _last_name(path: str) -> str:
    return PureWindowsPath(path).name  # knows the separators of all systems


def _counts(run: Path) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for _, status in _statuses(run):
        status = "unreadable" if status.startswith(UNREADABLE) else status
        counts[status] = counts.get(status, 0) + 1
    return tuple(f"{count:,} images: {status}" for status, count in counts.items())


def _statuses(run: Path) -> list[tuple[str, str]]:
    try:
        with open(
            run / "items.csv", newline="", encoding="utf-8", errors="surrogateescape"
        ) as file:
            rows = [(row["path"], row["status"]) for row in csv.DictReader(file)]
        if any(path is None or status is None for path, status in rows):
            raise csv.Error("a line is short of cells")
    except FileNotFoundError:
        return []
    except (csv.Error, KeyError) as error:
        raise CheckpointError(
            f"{run / 'items.csv'} is damaged: expected the columns path and status in every line"
        ) from error
    return [(unguarded(path), status) for path, status in rows]
