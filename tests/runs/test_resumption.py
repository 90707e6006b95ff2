"""Labels of a run that is resumed; its images are in `test_moved_data.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quarterturn.errors import DataError
from quarterturn.methods.configuration import Config
from quarterturn.runs import Run
from quarterturn.runs.resumption import require_labels


def test_labels_that_have_changed_are_refused(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", "photos", Config(), "abc", labels_fingerprint="123")
    run.create()
    again = Run.open(run.path)
    assert again == run
    require_labels(again, "123")
    with pytest.raises(DataError, match=r"labels of photos are not .* 456, expected 123"):
        require_labels(again, "456")


def test_runs_of_earlier_versions_know_no_labels(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", "photos", Config(), "abc")
    run.create()
    file = run.path / "config.json"
    stored = json.loads(file.read_text())
    del stored["labels_fingerprint"]
    file.write_text(json.dumps(stored))
    opened = Run.open(run.path)
    assert opened.labels_fingerprint is None
    require_labels(opened, "456")  # nothing to compare with, so any will do
