"""Writes the tables of ``results.md`` from the records in ``results/``.

Beside each lies a recipe by which `reproduction.py` makes the table again. ``make results`` puts
each record's command, date, machine and tables between the two comments that name it::

    <!-- record: demo-digits -->
    <!-- end of record -->

A record is one JSON file:

    format      1
    title       what was measured
    date        year-month-day
    machine     processor, versions, precision
    command     the command lines, as they were run
    n           how many trainings, seeds or draws
    tables      one or more of
        columns     headings, each different
        rows        one list of cells a row
        plain       columns whose numbers are no fractions (optional)
        decimals    digits after the point of a plain column (optional; else as recorded)
        bold        first cells of the rows to stress (optional)

``columns``, ``rows`` and ``plain`` are those of ``Table.to_dict``, so that a table which a command
wrote as JSON can be put into a record as it is. A cell is a string, an int (a count), a float (a
fraction, shown in percent), null (``-``), or several figures: ``{"mean", "spread"}``,
``{"upright", "turned"}`` or ``{"median", "lowest", "highest"}``, the last of which is never a
fraction. What was not run says "not run".
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

RECORDS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent / "results.md"
BLOCK = re.compile(r"(<!-- record: (\S+) -->)\n.*?(<!-- end of record -->)", re.DOTALL)


def rendered(text: str, records: Path = RECORDS) -> str:
    """The page with the block of every record written anew.

    Raises:
        ValueError: A record is named twice, or lies in the folder and is not named, or its format
            is another.
        FileNotFoundError: A named record does not exist.
    """
    named = [match[2] for match in BLOCK.finditer(text)]
    if repeated := sorted({name for name in named if named.count(name) > 1}):
        raise ValueError(f"the page shows {', '.join(repeated)} more than once")
    if missing := sorted({path.stem for path in records.glob("*.json")} - set(named)):
        raise ValueError(f"the page does not show {', '.join(missing)}")
    return BLOCK.sub(
        lambda block: "\n".join([*_block_lines(records / f"{block[2]}.json", block[1]), block[3]]),
        text,
    )


def _block_lines(path: Path, opening: str) -> list[str]:
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["format"] != 1:
        raise ValueError(f"{path.name} has format {record['format']}; expected 1")
    lines = [opening, "", "```bash", *record["command"], "```", ""]
    lines += [f"*{record['title']}. {record['date']}; {record['machine']}; {record['n']}.*", ""]
    for table in record["tables"]:
        lines += [*_table_lines(table), ""]
    return lines


def _table_lines(table: dict[str, Any]) -> list[str]:
    columns, plain = table["columns"], table.get("plain", [])
    decimals, bold = table.get("decimals", {}), table.get("bold", [])
    rows = []
    for row in table["rows"]:
        label, *figures = [
            format_cell(value, column in plain, decimals.get(column))
            for column, value in zip(columns, row, strict=True)
        ]
        rows.append([f"**{label}**" if row[0] in bold else label, *figures])
    rule = ["---", *("---:" for _ in columns[1:])]
    return [f"| {' | '.join(cells)} |" for cells in [columns, rule, *rows]]


def format_cell(value: Any, plain: bool = False, decimals: int | None = None) -> str:
    """A cell as it stands in the table.

    Args:
        value: See the top of this file.
        plain: Floats are no fractions.
        decimals: Digits after the point of such a float; as recorded by default.
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not plain:
            return f"{100 * value:.1f}"
        return str(value) if decimals is None else f"{value:.{decimals}f}"
    match value:
        case {"mean": mean, "spread": spread}:
            return " ± ".join(format_cell(part, plain, decimals) for part in (mean, spread))
        case {"upright": upright, "turned": turned}:
            return " / ".join(format_cell(part, plain, decimals) for part in (upright, turned))
        case {"median": median, "lowest": lowest, "highest": highest}:
            shown = [format_cell(part, True, decimals) for part in (median, lowest, highest)]
            return f"{shown[0]} ({shown[1]} to {shown[2]})"
    raise ValueError(f"no cell of a table: {value!r}")


def main() -> int:
    """Write the page; with --check, only say whether it is as the records have it."""
    text = PAGE.read_text(encoding="utf-8")
    wanted = rendered(text)
    if "--check" in sys.argv[1:] and wanted != text:
        print(f"{PAGE} is not as its records have it; run: make results", file=sys.stderr)
        return 1
    if wanted != text:
        PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
