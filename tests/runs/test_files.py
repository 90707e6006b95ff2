from __future__ import annotations

from pathlib import Path

from quarterturn.runs import next_directory


def test_next_directory_is_the_first_free_number(tmp_path: Path) -> None:
    assert next_directory("x", tmp_path) == tmp_path / "x-1"
    (tmp_path / "x-1").mkdir()
    (tmp_path / "x-3").mkdir()
    assert next_directory("x", tmp_path) == tmp_path / "x-2"
