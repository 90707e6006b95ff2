"""Makes a table of ``results.md`` again and lays it beside the recorded one.

    make reproduce                                   # the tables, their data and cost
    make reproduce TABLE=demo-digits
    make reproduce TABLE=demo-houses HOUSES=photos/houses OUT=again

``result_recipes.py`` says what a recipe holds. Results are kept in OUT, ``build/reproduce/TABLE``
by default: interrupted, the same command continues. In the end ``comparison.json`` has every figure
beside the recorded one, and ``TABLE.json`` is a new record, in the form of those in ``results/``.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from quarterturn.files import write_json
from quarterturn.kept_files import read_object
from quarterturn.pages.tables import Table
from result_comparison import (
    MISSING,
    ORDER,
    OUTSIDE,
    Comparison,
    Figures,
    compared,
    made_columns,
    made_rows,
)
from result_recipes import DATA, RECORDS, Recipe, read_recipe, split_line
from result_steps import REPOSITORY, StepError, run_steps

HEADINGS = ["row", "figure", "recorded", "new", "difference", "verdict"]


class RequestError(Exception):
    """A table or data that are not there."""


def main(words: list[str]) -> int:
    """Make a table again, or list all; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make reproduce", description=__doc__)
    parser.add_argument("table", nargs="?")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--records", type=Path, default=RECORDS, help=argparse.SUPPRESS)
    parser.add_argument("--data", action="append", default=[], metavar="NAME=PATH")
    given = parser.parse_args(words)
    try:
        if given.table is None:
            Console(width=150).print(listing(given.records))
            return 0
        data = dict(each.split("=", 1) for each in given.data)
        return reproduce(given.table, data, given.out, given.records)
    except (RequestError, StepError) as error:
        print(f"make reproduce: {error}", file=sys.stderr)
        return 2


def listing(records: Path = RECORDS) -> Table:
    """Every table with its data and cost, or why it cannot be made again."""
    rows: list[list[Any]] = []
    for path in sorted(records.glob("*.json")):
        recipe = read_recipe(path.stem, records)
        needed = recipe.cost or f"cannot be made again: {recipe.not_run}"
        rows.append([path.stem, " ".join(recipe.data()) or "-", needed])
    return Table("make reproduce TABLE=...", ["TABLE", "data", "cost"], rows)


def reproduce(name: str, data: dict[str, str], out: Path | None, records: Path = RECORDS) -> int:
    """Run a table's commands and print the new figures beside the recorded ones.

    Args:
        name: Of the record.
        data: Paths of the data that were given, by name.
        out: Folder of the results.
        records: Folder of records and recipes.

    Returns:
        0, or 1 where a figure was not found.

    Raises:
        RequestError: There is no such table, it cannot be made again, or data are missing.
        StepError: A command failed.
    """
    if not (records / f"{name}.json").exists():
        names = ", ".join(sorted(path.stem for path in records.glob("*.json")))
        raise RequestError(f"there is no table {name}; there are {names}")
    recipe, record = read_recipe(name, records), read_object(records / f"{name}.json")
    if recipe.not_run:
        raise RequestError(f"{name} cannot be made again: {recipe.not_run}")
    paths = checked_data(name, recipe, data)
    out = (out or REPOSITORY / "build" / "reproduce" / name).absolute()
    print(f"{record['title']}\ncost: {recipe.cost}; results in {out}")
    if recipe.note:
        print(f"note: {recipe.note}")
    lines = [(step, split_line(line, paths)) for step, line in recipe.lines()]
    run_steps(lines, out)
    tables = [
        (made, compared(table, made, out))
        for table, made in zip(recipe.tables, record["tables"], strict=True)
    ]
    console = Console(width=max(130, os.get_terminal_size().columns if sys.stdout.isatty() else 0))
    for number, (made, found) in enumerate(tables):
        left_out = recipe.tables[number].left_out
        console.print(comparison_table(made.get("name", name), found, left_out))
    everything = [figure for _, found in tables for figure in found]
    write_json(out / "comparison.json", [asdict(figure) for figure in everything])
    write_json(out / f"{name}.json", new_record(recipe, record, lines, out))
    counts = Counter(figure.verdict for figure in everything)
    parts = [f"{counts[verdict]} {verdict}" for verdict in ORDER if counts[verdict]]
    print(f"{len(everything)} figures of {record['date']} made again: {', '.join(parts)}")
    print(f"all of them: {out / 'comparison.json'}; as a record: {out / f'{name}.json'}")
    return 1 if counts[MISSING] else 0


def checked_data(name: str, recipe: Recipe, data: dict[str, str]) -> dict[str, str]:
    """Absolute paths of the data that a table needs.

    Raises:
        RequestError: Some are not given, or not there.
    """
    needed = recipe.data()
    if missing := [variable for variable in needed if variable not in data]:
        words = [f"{variable} ({DATA[variable]})" for variable in missing]
        call = " ".join(f"{variable}=PATH" for variable in needed)
        raise RequestError(
            f"{name} needs {' and '.join(words)}: unpack "
            f"{' and '.join(DATA[variable].partition(':')[0] for variable in missing)} and call "
            f"make reproduce TABLE={name} {call}"
        )
    paths = {variable: Path(data[variable]).expanduser().absolute() for variable in needed}
    for variable, path in paths.items():
        if not path.exists():
            raise RequestError(
                f"{variable} is {data[variable]}, which is not there; expected {DATA[variable]}"
            )
    return {variable: str(path) for variable, path in paths.items()}


def comparison_table(title: str, found: list[Comparison], left_out: dict[str, str]) -> Table:
    """Every figure in a row of its own: recorded, new, their difference, the verdict."""
    rows: list[list[Any]] = []
    for figure in found:
        difference = figure.difference
        verdict = figure.verdict
        if verdict == OUTSIDE:
            ends = [figure.form.shown(end) for end in (figure.lowest, figure.highest)]
            verdict = f"{verdict} {' to '.join(ends)}"
        rows.append(
            [
                figure.row,
                figure.column,
                figure.form.shown(figure.recorded),
                figure.form.shown(figure.new),
                "-" if difference is None else _signed(figure.form.shown(difference)),
                verdict,
            ]
        )
    note = "; ".join(f"{what} is left out: {why}" for what, why in left_out.items())
    return Table(title, HEADINGS, rows, note)


def new_record(
    recipe: Recipe, record: dict[str, Any], lines: list[tuple[str, list[str]]], out: Path
) -> dict[str, Any]:
    """The record with the new figures; rows and columns that were not made again are left out."""
    import torch

    tables = []
    for table, recorded in zip(recipe.tables, record["tables"], strict=True):
        figures = Figures(table, recorded, out)
        columns = made_columns(table, recorded)
        headings = [*recorded["columns"][: len(table.labels)], *columns]
        rows = [
            [*label, *(figures.cell(row, column) for column in columns)]
            for row, label in made_rows(table, recorded)
        ]
        tables.append({**recorded, "columns": headings, "rows": rows})
    return {
        **record,
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores of {platform.machine()}, {torch.get_num_threads()} "
        f"threads; Python {platform.python_version()}, torch {torch.__version__}",
        "command": [line for _, line in recipe.lines()],
        "tables": tables,
    }


def _signed(number: str) -> str:
    return number if number.startswith("-") else f"+{number}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
