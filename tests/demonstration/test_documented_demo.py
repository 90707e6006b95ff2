"""A trial of minutes: `quarterturn demo` gives the figures that docs/results.md states."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quarterturn import demo

RECORD = Path(__file__).parents[2] / "docs" / "results" / "demo-digits.json"
TOLERANCE = 0.05  # other processors round differently; 22 of 450 test digits


@pytest.mark.slow
def test_the_demo_gives_the_documented_figures(tmp_path: Path) -> None:
    (table,) = json.loads(RECORD.read_text())["tables"]
    run = demo("digits", out=tmp_path / "run")
    found = json.loads((run.path / "results.json").read_text())["rows"]
    assert list(found) == [name for name, *_ in table["rows"]]
    differing = {
        f"{name}, {column}": (figure, found[name].get(column))
        for name, *figures in table["rows"]
        for column, figure in zip(table["columns"][1:], figures, strict=True)
        if found[name].get(column) != pytest.approx(figure, abs=TOLERANCE)
    }
    assert differing == {}
