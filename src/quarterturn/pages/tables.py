"""One result table: on a terminal, on the page and in JSON, with the same figures."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import rich.table
from rich.text import Text

results = logging.getLogger("quarterturn.results")

Cell = str | float | None


@dataclass(frozen=True)
class Table:
    """Results in rows.

    Attributes:
        title: What the table shows.
        columns: Headings.
        rows: Words, numbers or None, as many in a row as there are columns. A float is a fraction
            and shows as percent; an int is a count.
        note: A sentence below the table: where the figures come from.
        plain: Columns whose floats are no fractions and show as they are.
    """

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""
    plain: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"a row of {len(row)} cells in a table of {len(self.columns)} columns: {row}"
                )
        if unknown := sorted(set(self.plain) - set(self.columns)):
            raise ValueError(f"plain names columns {unknown}; there are {self.columns}")

    def cells(self) -> list[list[str]]:
        """Every cell as it is shown, on a terminal and on the page."""
        return [
            [
                format_cell(value, plain=column in self.plain)
                for column, value in zip(self.columns, row, strict=True)
            ]
            for row in self.rows
        ]

    def numeric(self) -> list[bool]:
        """For each column, whether it holds numbers, which are set flush right."""
        return [
            any(isinstance(row[i], int | float) for row in self.rows)
            for i in range(len(self.columns))
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, unrounded; numbers that are not finite become None."""
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": [[value if _is_known(value) else None for value in row] for row in self.rows],
            "note": self.note,
            "plain": list(self.plain),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Table:
        """The table that `to_dict` has made."""
        return cls(**{**stored, "plain": tuple(stored.get("plain", ()))})

    def __rich__(self) -> rich.table.Table:
        """The table as rich prints it on a terminal."""
        # Text objects, not strings: rich would take square brackets in a file name for markup.
        shown = rich.table.Table(
            title=Text(self.title, style="bold"),
            caption=Text(self.note) if self.note else None,
            title_justify="left",
            caption_justify="left",
        )
        for column, is_numeric in zip(self.columns, self.numeric(), strict=True):
            shown.add_column(Text(column), justify="right" if is_numeric else "left")
        for row in self.cells():
            shown.add_row(*(Text(cell) for cell in row))
        return shown

    def __str__(self) -> str:
        """The table in plain text, its columns flush."""
        lines = [self.columns, *self.cells()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        justify = [str.rjust if is_numeric else str.ljust for is_numeric in self.numeric()]
        body = [
            "  ".join(
                place(cell, width) for place, cell, width in zip(justify, line, widths, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *body, *([self.note] if self.note else [])])


def show(table: Table) -> None:
    """Hand a table to whoever shows results: the command line prints it on stdout."""
    results.info(table)


def format_cell(value: Cell, *, plain: bool = False) -> str:
    """A value as people read it: ``93.4 %``, ``1,347``, ``0.0213``, and ``-`` where none is."""
    if not _is_known(value):
        return "-"
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, int):
        return f"{value:,}"
    assert value is not None
    return number(value) if plain else percent(value)


def percent(fraction: float) -> str:
    """A fraction as percent with one decimal."""
    return f"{100 * fraction:.1f} %"


def number(value: float) -> str:
    """Four significant digits, without powers of ten for everyday sizes."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def numbers(values: Iterable[float]) -> str:
    """Several of them, as `number` writes each."""
    return ", ".join(map(number, values))


def size_in_words(num_bytes: int) -> str:
    """Bytes as people say them: ``820 B``, ``12 kB``, ``3.4 MB``."""
    size, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"


def printable(name: str) -> str:
    """A file name need not be UTF-8; its odd bytes are shown by their numbers."""
    return name.encode(errors="backslashreplace").decode()


def _is_known(value: Cell) -> bool:
    return isinstance(value, str) or (value is not None and math.isfinite(value))
