"""A reviewed ``orient.csv``: which images are to be turned, checked before anything is written."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from quarterturn.data.source import Source
from quarterturn.errors import DataError
from quarterturn.files import unguarded
from quarterturn.orientation.turn_table import NO, YES, file_version
from quarterturn.pages.tables import printable

NEEDED = ("path", "split", "turn_degrees", "apply", "file_version")
"""Columns that are read."""
ANSWERS = {YES: True, "true": True, "1": True, NO: False, "false": False, "0": False, "": False}
"""What ``apply`` may be; spreadsheets write some of these for others."""
MOST_NAMED = 5

ReviewedTurns = dict[str, dict[int, int]]
"""Split to numbers of the images that are to be turned, and their quarter turns,
counter-clockwise."""


class _Row(NamedTuple):
    line: int
    path: str
    split: str
    degrees: str
    answer: str
    version: str


def read_reviewed(path: Path, source: Source) -> ReviewedTurns:
    """Read which images are to be turned.

    Args:
        path: ``orient.csv``, as `orient` wrote it, as its page saved it, or edited by hand.
        source: The images.

    Raises:
        DataError: It is no such file; it names images that are not there, or that have changed
            since; a turn is no multiple of 90 degrees; or an answer is neither yes nor no.
    """
    place = {
        (split, name): index
        for split, images in source.all_splits.items()
        for index, name in enumerate(images.names)
    }
    found: ReviewedTurns = {split: {} for split in source.all_splits}
    unknown, changed = [], []
    for row in _rows(path):
        turns = _quarter_turns(path, row)
        if not _is_to_apply(path, row) or turns == 0:
            continue
        index = place.get((row.split, row.path))
        if index is None:
            unknown.append(row.path)
        elif row.version != file_version(source.all_splits[row.split], index):
            changed.append(row.path)
        elif found[row.split].setdefault(index, turns) != turns:
            raise DataError(
                f"{path}, line {row.line}: {printable(row.path)} is to be turned in two ways; "
                "expected one line per image"
            )
    if unknown:
        raise DataError(
            f"{path} is about other images: {_some(unknown)} {_are(unknown)} not in {source.name}. "
            "Give the DATA that it was made of, or run orient again"
        )
    if changed:
        raise DataError(
            f"{path} is out of date: {_some(changed)} {_have(changed)} changed since. Nothing was "
            "written; run orient again, and review what it says"
        )
    return found


def _rows(path: Path) -> Iterator[_Row]:
    try:
        # A name need not be UTF-8; a spreadsheet begins the file with a mark.
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            first = file.readline().removeprefix("\ufeff")
            separator = max(",;\t", key=first.count)
            header = next(csv.reader([first], delimiter=separator), [])
            if missing := [name for name in NEEDED if name not in header]:
                raise DataError(
                    f"{path} has no column {' and no column '.join(missing)}; expected an "
                    "orient.csv as quarterturn orient writes it, or its page saves it"
                )
            places = [header.index(name) for name in NEEDED]
            reader = csv.reader(file, delimiter=separator)
            for cells in reader:
                if any(cells):
                    wanted = [cells[i] if i < len(cells) else "" for i in places]
                    yield _Row(1 + reader.line_num, unguarded(wanted[0]), *wanted[1:])
    except FileNotFoundError:
        raise DataError(f"--apply {path}: there is no such file") from None
    except (OSError, csv.Error) as error:
        raise DataError(f"--apply {path} cannot be read as a csv file: {error}") from error


def _quarter_turns(path: Path, row: _Row) -> int:
    """Quarter turns, counter-clockwise; 0 where the cell is empty, as of an unreadable file."""
    if not row.degrees.strip():
        return 0
    try:
        degrees = float(row.degrees.replace(",", "."))
    except ValueError:
        degrees = float("nan")
    if degrees % 90 != 0:  # so is NaN
        raise DataError(
            f"{path}, line {row.line}: turn_degrees of {printable(row.path)} is {row.degrees!r}; "
            "expected 0, 90, 180 or 270, counter-clockwise"
        )
    return int(degrees // 90) % 4


def _is_to_apply(path: Path, row: _Row) -> bool:
    answer = ANSWERS.get(row.answer.strip().lower())
    if answer is None:
        raise DataError(
            f"{path}, line {row.line}: apply of {printable(row.path)} is {row.answer!r}; expected "
            "yes or no"
        )
    return answer


def _some(names: list[str]) -> str:
    named = ", ".join(map(printable, names[:MOST_NAMED]))
    return named + (f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else "")


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _have(names: list[str]) -> str:
    return "has" if len(names) == 1 else "have"
