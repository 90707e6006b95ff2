"""New figures beside the recorded ones: read from the files that commands wrote, and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jmespath
from scipy.stats import binomtest

from quarterturn.metrics.classification import mean_and_spread
from quarterturn.pages.tables import number
from result_recipes import COMMON, SCORE, TableRecipe, combinations, replaced
from result_tables import format_cell

SAME, WITHIN, OUTSIDE = "same", "within", "outside"
UNKNOWN, MISSING = "spread not recorded", "not found"
ORDER = (SAME, WITHIN, UNKNOWN, OUTSIDE, MISSING)
"""Verdicts, the best one first."""
VIEWS = ("upright", "turned")


@dataclass(frozen=True)
class Form:
    """How the figures of a column are shown; see `result_tables.format_cell`."""

    plain: bool = False
    decimals: int | None = None

    @classmethod
    def of(cls, record: dict[str, Any], column: str) -> Form:
        """That of a column of a record's table."""
        return cls(column in record.get("plain", []), record.get("decimals", {}).get(column))

    def shown(self, value: Any) -> str:
        """A cell in words."""
        if self.plain and self.decimals is None and isinstance(value, float):
            return number(value)
        return format_cell(value, self.plain, self.decimals)


@dataclass(frozen=True)
class Comparison:
    """A recorded figure and the new one.

    Attributes:
        row: Labels of the row.
        column: Heading.
        recorded: As in the record.
        new: Likewise; None where the commands wrote none.
        form: How the column is shown.
        difference: New less recorded, of the means; None where one of them is no number.
        lowest: What the record says that a new figure may be: its mean less its spread, the lowest
            of its rounds, or the lower end of the 95 % interval by the number of test images. None
            where it does not say.
        highest: Likewise.
        verdict: `SAME` as shown, `WITHIN` or `OUTSIDE` of the recorded spread, `UNKNOWN` or
            `MISSING`.
    """

    row: str
    column: str
    recorded: Any
    new: Any
    form: Form
    difference: float | None
    lowest: float | None
    highest: float | None
    verdict: str


class Figures:
    """The figures of a table, as the commands have written them under a folder."""

    def __init__(self, recipe: TableRecipe, record: dict[str, Any], out: Path) -> None:
        self.recipe, self.record, self.out = recipe, record, out
        self._read: dict[str, Any] = {}

    def cell(self, row: list[Any], column: str) -> Any:
        """A cell in the form of the record's, or None."""
        recipe = self.recipe
        words = self._row_words(row)
        if recipe.written:
            return self._written(words, recipe.columns.get(column, column))
        words |= recipe.columns.get(column, {})
        if not recipe.pair:
            return self._repeated(words)
        pair = {view: self._repeated(words | {"view": view}) for view in VIEWS}
        return None if None in pair.values() else pair

    def _row_words(self, row: list[Any]) -> dict[str, Any]:
        """What the labels of a row stand for."""
        words: dict[str, Any] = dict(COMMON)
        for label, value in zip(self.recipe.labels, row, strict=False):
            stands_for = self.recipe.values.get(label, {}).get(value, value)
            words |= stands_for if isinstance(stands_for, dict) else {label: stands_for}
        return words

    def _repeated(self, words: dict[str, Any]) -> Any:
        """A figure, or mean and spread over repeats."""
        found = [self._one(words | choice) for choice in combinations(self.recipe.each)]
        if len(found) == 1:
            return found[0]
        means = [_mean(value) for value in found]
        return None if None in means else mean_and_spread(means)

    def _one(self, words: dict[str, Any]) -> Any:
        query = replaced(words.get("query", self.recipe.query), words)
        values = self._file(replaced(words.get("file", self.recipe.file), words))
        match None if values is None else jmespath.search(query, values):
            case {"mean": mean, "spread": None}:
                return mean
            case {"mean": mean, "spread": spread}:  # over seeds, whose figures follow
                return {"mean": mean, "spread": spread}
            case found:
                return found

    def _written(self, words: dict[str, Any], column: str) -> Any:
        """A cell of a table that a command wrote, found by its row's labels and its heading."""
        file = replaced(self.recipe.file, words)
        query = "@" if self.recipe.query == SCORE else replaced(self.recipe.query, words)
        table = jmespath.search(query, self._file(file))
        key = [words[label] for label in self.recipe.labels]
        rows = [row for row in (table or {}).get("rows", []) if row[: len(key)] == key]
        if len(rows) != 1 or column not in table["columns"]:
            return None
        return rows[0][table["columns"].index(column)]

    def _file(self, pattern: str) -> Any:
        """What the one file of that pattern holds; nothing where it is missing."""
        if pattern not in self._read:
            paths = sorted(self.out.glob(pattern))
            if len(paths) > 1:
                raise ValueError(f"{pattern} is more than one file in {self.out}: {paths}")
            self._read[pattern] = _values(paths[0]) if paths else None
        return self._read[pattern]


def compared(recipe: TableRecipe, record: dict[str, Any], out: Path) -> list[Comparison]:
    """Every figure of a table that the recipe makes again, beside the recorded one.

    Args:
        recipe: Of the table.
        record: The table's record.
        out: Folder in which the commands ran.
    """
    figures = Figures(recipe, record, out)
    columns = made_columns(recipe, record)
    cells = [
        (" ".join(map(str, label)), column, value, figures.cell(row, column))
        for row, label in made_rows(recipe, record)
        for column, value in zip(record["columns"], row, strict=True)
        if column in columns
    ]
    return [
        compare_cell(
            *cell,
            Form.of(record, cell[1]),
            None if cell[1] in recipe.no_accuracies else recipe.test_images,
        )
        for cell in cells
        if (cell[2], cell[3]) != (None, None)
    ]


def made_rows(recipe: TableRecipe, record: dict[str, Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    """The rows that are made again, each with its labels."""
    for row in record["rows"]:
        label = row[: len(recipe.labels)]
        if not {str(part) for part in label} & set(recipe.left_out):
            yield row, label


def made_columns(recipe: TableRecipe, record: dict[str, Any]) -> list[str]:
    """The headings of the figures that are made again."""
    headings: list[str] = record["columns"][len(recipe.labels) :]
    return [heading for heading in headings if heading not in recipe.left_out]


def compare_cell(
    row: str, column: str, recorded: Any, new: Any, form: Form, test_images: int | None = None
) -> Comparison:
    """One cell; of a pair of figures the one with the worse verdict, or that differs more.

    Args:
        row: Labels of the row.
        column: Heading.
        recorded: As in the record.
        new: Likewise; None where there is none.
        form: How the column is shown.
        test_images: How many, for the chance in a figure without a spread.
    """
    if isinstance(recorded, dict) and set(recorded) == set(VIEWS) and isinstance(new, dict):
        both = [compare_cell(row, column, recorded[v], new[v], form, test_images) for v in VIEWS]
        worse = max(both, key=lambda one: (ORDER.index(one.verdict), abs(one.difference or 0)))
        return replace(worse, recorded=recorded, new=new, form=form)
    if new is None:
        return Comparison(row, column, recorded, new, form, None, None, None, MISSING)
    old, found = _mean(recorded), _mean(new)
    if old is None or found is None:
        verdict = SAME if recorded == new else UNKNOWN
        return Comparison(row, column, recorded, new, form, None, None, None, verdict)
    lowest, highest = _range(recorded, test_images)
    if form.shown(type(found)(old)) == form.shown(found):
        verdict = SAME
    elif lowest is None:
        verdict = UNKNOWN
    else:
        verdict = WITHIN if lowest <= found <= highest else OUTSIDE
    return Comparison(row, column, recorded, new, form, found - old, lowest, highest, verdict)


def _range(recorded: Any, test_images: int | None) -> tuple[Any, Any]:
    """Between which figures the record says that a new one may lie; None where it does not."""
    match recorded:
        case {"mean": mean, "spread": spread} if spread is not None:
            return mean - spread, mean + spread
        case {"lowest": lowest, "highest": highest}:
            return lowest, highest
    mean = _mean(recorded)
    if test_images is None or not isinstance(mean, float) or not 0 <= mean <= 1:
        return None, None
    interval = binomtest(round(mean * test_images), test_images).proportion_ci(method="wilson")
    return interval.low, interval.high


def _mean(value: Any) -> Any:
    """The number in a cell; None where it holds none."""
    match value:
        case {"mean": mean}:
            return mean
        case {"median": median}:
            return median
        case bool() | str() | None | dict():
            return None
    return value


def _values(path: Path) -> Any:
    text = path.read_text("utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text.splitlines()[-1] if path.suffix == ".txt" else text)
