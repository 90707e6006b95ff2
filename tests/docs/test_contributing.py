"""CONTRIBUTING.md shows the house as it is."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src" / "quarterturn"
PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
CODE = re.findall(r"`([^`\n]+)`", PAGE)


def test_rooms_stand_in_the_order_of_imports():
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]
    layers = contracts["importlinter"]["contracts"][0]["layers"]
    table = PAGE[PAGE.index("| room |") : PAGE.index("## Where to go")].splitlines()[2:]
    rows = [re.findall(r"`(\w+)/?`", line.split(" | ")[0]) for line in table if line]
    assert [set(row) for row in rows] == [set(layer.split(" | ")) for layer in reversed(layers)]


def test_files_that_are_named_exist():
    paths = [code for code in CODE if re.fullmatch(r"\w+/\w+\.py", code) and code.islower()]
    assert len(paths) >= 8
    missing = [p for p in paths if not any((f / p).exists() for f in (SOURCE, REPOSITORY))]
    assert missing == []


def test_tables_to_enter_things_in_exist():
    entries = re.findall(r"`([A-Z_]+)` in `([\w/]+)\.py`", PAGE)
    assert {"METHODS", "BACKBONES", "NAMED_SOURCES", "FORMATS", "COMMANDS"} <= {
        t for t, _ in entries
    }
    for table, module in entries:
        assert hasattr(import_module(f"quarterturn.{module.replace('/', '.')}"), table)
