from __future__ import annotations

import json
from pathlib import Path

import pytest

from quarterturn.errors import CheckpointError
from quarterturn.runs import Run
from quarterturn.runs.metric_lines import read_metric_lines

TRAIN = {"kind": "train", "step": 3, "epoch": 0, "loss": 1.5, "images_per_s": 9.0, "elapsed_s": 1}
OTHER = {"kind": "diagnostics", "step": 3, "epoch": 1, "spread": None, "elapsed_s": 2.5}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def write(path: Path, *lines: object) -> None:
    path.write_text("".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines))


def test_lines_of_a_kind(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_metric_lines(path, "train") == []
    write(path, TRAIN, OTHER, {**TRAIN, "step": 7})
    assert [line["step"] for line in read_metric_lines(path, "train")] == [3, 7]
    assert read_metric_lines(path, "diagnostics", strict=True) == [OTHER]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"kind": "train", "st', "is no JSON"),
        ("[3]", "holds a list"),
        ({"step": 3}, "has no kind"),
        ({**TRAIN, "kind": 3}, "has no kind"),
        ({**TRAIN, "loss": "x"}, "has no number loss"),
        ({**TRAIN, "elapsed_s": None}, "has no number elapsed_s"),
        ({**TRAIN, "rotation": [1]}, r"has \[1\] for rotation; expected a number"),
        ({**OTHER, "epoch": "2"}, "has no number epoch"),
    ],
)
def test_a_damaged_line_is_left_out_and_reported_once(
    path: Path, caplog: pytest.LogCaptureFixture, line: object, reason: str
) -> None:
    write(path, TRAIN, line, {**TRAIN, "step": 9})
    for _ in range(3):
        assert [x["step"] for x in read_metric_lines(path, "train")] == [3, 9]
    (record,) = caplog.records
    words = rf"metrics\.jsonl is damaged: line 2 {reason}"
    assert pytest.RaisesExc(ValueError, match=words).matches(ValueError(record.message))
    with pytest.raises(CheckpointError, match=words):
        read_metric_lines(path, "train", strict=True)


def test_the_log_of_a_fold_has_to_be_whole(tmp_path: Path) -> None:
    """Its lines decide when it stops."""
    run = Run(tmp_path, "digits", None, None, "fold")  # type: ignore[arg-type]
    write(run.metrics_file, TRAIN, "nonsense", TRAIN)
    with pytest.raises(CheckpointError, match=r"line 2 is no JSON.*delete .* and resume"):
        run.read_metrics("validation")
