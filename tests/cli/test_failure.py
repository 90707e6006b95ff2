"""Under torchrun each process says why it ends, and the first failure is the one that is named."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

import quarterturn.cli as cli
from quarterturn.cli.commands import COMMANDS
from quarterturn.cli.failure import report_error, report_failure
from quarterturn.engine.torchrun import LATER_S, OUTLIVED_S

LOST = RuntimeError(
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer"
)


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that are waited, at once."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.fixture
def error_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As in the second of two processes that torchrun has started."""
    path = tmp_path / "error.json"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    return path


def test_torchrun_reads_the_words(error_file: Path, waited: list[float], capsys) -> None:
    assert report_failure("no data at 'x'") == 2
    assert waited == [LATER_S]
    assert capsys.readouterr().err == "quarterturn, process 1 of 2: no data at 'x'\n"
    failure = ProcessFailure(1, pid=7, exitcode=2, error_file=str(error_file))
    assert failure.message["message"] == "no data at 'x'"
    assert abs(failure.timestamp - time.time()) < 60


def test_whoever_loses_another_lets_torchrun_find_it_first(
    error_file: Path, waited: list[float], capsys
) -> None:
    assert report_error(LOST, "resume it") == 2
    assert waited == [OUTLIVED_S]
    told = capsys.readouterr().err
    assert told.startswith("quarterturn, process 1 of 2: lost the connection to another process")
    assert json.loads(error_file.read_text())["message"]["message"].endswith("; resume it")


def test_one_process_a_machine_tells_of_the_loss(
    error_file: Path, waited: list[float], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert report_error(LOST, "") == 2
    assert capsys.readouterr().err == ""
    assert "lost the connection" in error_file.read_text()


def test_a_defect_keeps_its_traceback(error_file: Path, waited: list[float]) -> None:
    with pytest.raises(RuntimeError, match="of ours"):
        report_error(RuntimeError("of ours"), "")
    message = json.loads(error_file.read_text())["message"]["message"]
    assert message == "RuntimeError: of ours"
    assert waited == []


def test_one_process_loses_no_other(waited: list[float]) -> None:
    with pytest.raises(RuntimeError, match="closed by peer"):
        report_error(LOST, "")


@pytest.mark.parametrize(
    "words",
    [
        "demo",
        "orient runs/a",
        "predict runs/a photos --out labels.csv",
        "neighbors runs/a a.jpg",
        "compare runs/a runs/b",
        "report runs/a",
        "export runs/a --format onnx",
        "import a.pth --out runs/a",
    ],
)
def test_work_that_is_not_shared_is_refused(
    words: str, error_file: Path, waited: list[float], capsys
) -> None:
    assert cli.main(words.split()) == 2
    told = f"{words.split()[0]} runs in one process, and torchrun has started 2"
    assert told in capsys.readouterr().err


def test_trainings_and_features_are_shared() -> None:
    shared = {name for name, command in COMMANDS.items() if command.shared}
    assert shared == {"pretrain", "upright", "finetune", "probe", "embed"}
