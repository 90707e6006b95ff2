from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from quarterturn import orient
from quarterturn.orientation.turn_review import estimate_quality, list_candidates
from quarterturn.orientation.turns import NEW, Turns
from tests.data.pictures import save_photo

from .upright_runs import sharp, upright_run

STORED = np.array(
    [
        [0.1, 0.9, 0.0, 0.0],
        [0.9, 0.1, 0.0, 0.0],
        [0.3, 0.1, 0.6, 0.0],
        [0.4, 0.2, 0.2, 0.2],
        [0.0, 0.0, 0.0, 1.0],
        [np.nan] * 4,
    ]
)


def turns(**others: bool) -> dict[str, Turns]:
    known = np.array([0.1, 0.1, 0.1, 0.1, 0.1, np.nan])
    return {"train": Turns(STORED, STORED, known, [NEW] * 6, **others)}


def verdicts(found: dict[str, Turns], confidence: float = 0.8) -> dict[str, list[str]]:
    return {split: each.verdicts(confidence=confidence) for split, each in found.items()}


def test_candidates_are_surest_first() -> None:
    found = turns()
    listed = list_candidates(found, verdicts(found))
    # Number 3 is more probably turned than not, but its most probable turn is none.
    assert [(one.index, one.turn, one.probability) for one in listed] == [
        (4, 1, 1.0),
        (0, 3, 0.9),
        (2, 2, 0.6),
    ]
    cannot = turns(tells=False)
    assert list_candidates(cannot, verdicts(cannot)) == []


def test_quality_is_expected_from_the_probabilities() -> None:
    found = turns()
    by_confidence = {row["confidence"]: row for row in estimate_quality(found, verdicts(found))}
    expected = 0.9 + 0.1 + 0.7 + 0.6 + 1.0
    assert by_confidence[0.8]["listed"] == 2
    assert by_confidence[0.8]["precision"] == pytest.approx(0.95)
    assert by_confidence[0.8]["recall"] == pytest.approx(1.9 / expected)
    assert by_confidence[0.5]["listed"] == 3
    assert by_confidence[0.5]["recall"] == pytest.approx(2.5 / expected)
    cannot = turns(tells=False)
    rows = estimate_quality(cannot, verdicts(cannot))
    assert all((row["precision"], row["recall"]) == (None, None) for row in rows)


def test_the_page_lists_what_the_file_does(tmp_path: Path) -> None:
    for i in range(12):
        save_photo(tmp_path / "photos" / f"{i:02d}.png", i, 20, 24)
    stored = [1, 0, 2] + [0] * 9
    agnostic = np.where(np.arange(12) == 5, 0.95, 0.1)
    scores = sharp(stored)
    scores[5] = 0.25
    run = upright_run(tmp_path / "run", str(tmp_path / "photos"), scores, agnostic)
    result = orient(run.path, out=tmp_path / "out", workers=0)
    text = (tmp_path / "out" / "orient.html").read_text()
    found = re.search(r'id="rows">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    rows = json.loads(found[1])
    lines = Path(result["table"]).read_text().splitlines()
    assert rows["columns"] == lines[0].split(",")
    assert {",".join(row) for row in rows["rows"]} == {lines[1], lines[3]}
    assert text.count(" checked disabled") == 2
    assert 'href="../photos/00.png"' in text
    assert "No clear up" in text
    assert 'href="../photos/05.png"' in text
    assert str(tmp_path) not in text
    assert "quarterturn orient" in text
