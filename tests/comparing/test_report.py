from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from quarterturn import CheckpointError, report
from quarterturn.cli import main

FORMER = Path(__file__).parent.parent / "runs" / "former"


def test_the_command_makes_the_page_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(FORMER / "finetune", tmp_path / "run"))
    assert main(["report", str(run)]) == 0
    assert "Confusion matrix" in (run / "report.html").read_text()
    assert f"report: {run / 'report.html'}" in capsys.readouterr().err


def test_every_seed_has_its_page_made(tmp_path: Path) -> None:
    for seed in (0, 1):
        shutil.copytree(FORMER / "finetune", tmp_path / f"seed-{seed}")
    assert report(tmp_path) == tmp_path / "seed-0" / "report.html"
    assert (tmp_path / "seed-1" / "report.html").exists()


def test_of_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run directory"):
        report(tmp_path)
