from __future__ import annotations

import base64
import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from quarterturn.features.gallery import save_gallery
from quarterturn.files import write_csv, write_json
from quarterturn.methods.configuration import Config
from quarterturn.pages import report as module
from quarterturn.pages.report import never_fatal, refresh_report, write_report
from quarterturn.pages.tables import Table
from quarterturn.runs import RESULTS, Run
from quarterturn.runs.classifier_results import ClassifierResult
from quarterturn.runs.facts import write_facts
from quarterturn.runs.record_files import to_json

from .elements import Elements
from .metrics_lines import diagnostics_lines, train_lines

FORMER = Path(__file__).parent.parent / "runs" / "former"
TABLE = Table(
    "Accuracy",
    ["features", "kNN, turned", "linear, turned", "seconds"],
    [["raw pixels", 0.38249, None, 1.25], ["decoupled", 0.9312, 0.98765, 41.5]],
    plain=("seconds",),
)


def write_lines(run: Run, lines: list[dict]) -> None:
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_run(folder: Path, config: Config, *, data: str = "digits") -> Run:
    run = Run(folder / "run", data, config, "fingerprint")
    run.create()
    write_lines(run, train_lines() + diagnostics_lines())
    write_json(run.path / "environment.json", {"versions": {"torch": "2"}, "commit": None})
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits, config, network) -> Run:
    """A run with all that a pretraining leaves behind."""
    run = make_run(tmp_path_factory.mktemp("report"), config)
    write_facts(run, data=["60 images in digits:", "  one.png: bad"], warnings=["warning: look"])
    write_csv(run.path / "items.csv", ["path", "status"], [["one.png", "unreadable: empty"]])
    write_json(run.path / RESULTS, {"table": TABLE.to_dict()})
    save_gallery(run, network, digits)
    return run


@pytest.fixture(scope="module")
def text(run: Run) -> str:
    return write_report(run).read_text(encoding="utf-8")


def test_needs_nothing_from_outside(text: str) -> None:
    page = Elements(text)
    for word in ("http://", "https://", "url(", "@import"):
        assert word not in text
    assert not page.all("script")
    sources = [a[key] for _, a in page.tags for key in ("src", "href", "srcset") if key in a]
    assert len(sources) > 50
    assert all(source.startswith("data:") for source in sources)


def test_can_be_read_aloud_and_by_keyboard(text: str) -> None:
    page = Elements(text)
    assert page.all("html") == [{"lang": "en"}]
    assert all(image.get("alt") for image in page.all("img"))
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert np.diff(page.headings).max() <= 1, "a level of headings is skipped"
    assert all(
        a.get("tabindex") == "0"
        for a in page.all("div")
        if a.get("class") == "scroll" and (a.get("role"))
    )


def test_images_come_first_and_training_last_and_folded(text: str) -> None:
    assert re.findall("<h2>(.*?)</h2>", text) == [
        "Your images",
        "How well it works",
        "How it was trained",
    ]
    training = text.index('<details class="training">')
    for word in ("Leakage, new head", "Effective rank", "crop scale", "Environment", "Losses"):
        assert text.index(word) > training, word
    for word in ("Rotation accuracy", "93.1 %", "Nearest neighbours", "60 images in digits"):
        assert text.index(word) < training, word


def test_figures_of_merit_are_those_of_the_last_line(text: str) -> None:
    assert "80.0 %" in text  # rotation accuracy after the last epoch
    assert "30.0 %" in text  # the fresh head's leakage
    assert "5.0 of 64" in text
    assert "403, each in four turns (median)" in text


def test_unreadable_files_are_listed_once(text: str) -> None:
    assert text.count("one.png") == 1
    assert "<td>one.png</td><td>empty</td>" in text


def test_drawn_figures_are_files_of_the_run(run: Run, text: str) -> None:
    names = {path.name for path in run.figures.iterdir()}
    assert names == {"loss.png", "loss.json", "diagnostics.png", "diagnostics.json"}
    for path in run.figures.glob("*.png"):
        assert base64.b64encode(path.read_bytes()).decode() in text


def test_is_made_again_without_network_images_or_checkpoint(
    run: Run, text: str, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(run.path, tmp_path / "run"))
    shutil.rmtree(copied / "checkpoints")
    (copied / "report.html").unlink()
    assert write_report(Run.open(copied)).read_text(encoding="utf-8") == text


def test_of_no_epochs_has_no_curves(tmp_path: Path, config: Config) -> None:
    run = make_run(tmp_path, config.with_settings(epochs=0))
    write_lines(run, [])
    text = write_report(run).read_text()
    assert "no epoch was trained" in text
    assert not list(run.figures.iterdir())
    Elements(text)


def test_shows_no_path_of_the_users_machine(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "my photos" / "cats"
    photos.mkdir(parents=True)
    words = ["/usr/bin/quarterturn", "pretrain", str(photos), f"--out={tmp_path}/run"]
    monkeypatch.setattr("sys.argv", words)
    config = config.with_settings(upright=str(tmp_path / "up" / "upright.npz"))
    run = make_run(tmp_path, config, data=str(photos))
    write_facts(run, data=[f"9 images in {photos}"], warnings=[f"{photos} is small"])
    write_json(run.path / "environment.json", {"device": "cpu", "home": str(Path.home() / "x")})
    text = write_report(run).read_text()
    assert str(tmp_path) not in text
    assert "my photos" not in text
    assert str(Path.home() / "x") not in text
    assert "9 images in cats" in text
    assert "quarterturn pretrain cats --out=run" in text
    assert "<td>upright.npz</td>" in text


def test_of_a_classifier_has_matrix_and_bars(tmp_path: Path, config: Config) -> None:
    run = Run(
        tmp_path / "run", "digits", config.with_settings(method="classifier"), "f", "finetune"
    )
    run.create()
    figures = {
        "n": 4,
        "top1": 0.75,
        "balanced": 0.75,
        "worst_class": 0.5,
        "worst_class_name": "b",
        "per_class": {"a": 1.0, "b": 0.5},
        "confusion": [[2, 0], [1, 1]],
        "calibration_error": 0.125,
        **dict.fromkeys(("many", "medium", "few", "std_over_classes", "std_over_groups")),
    }
    result = ClassifierResult(3, figures, (30, 5), 100, 20, "the split 'test'")
    write_json(run.path / RESULTS, to_json(result))
    text = write_report(run).read_text()
    for word in (
        "Confusion matrix",
        "Accuracy by class",
        "b taken for a (1 of its test images)",
        "12.5 %",
    ):
        assert word in text
    stored = json.loads((run.figures / "confusion.json").read_text())["data"]
    assert stored == {"classes": ["a", "b"], "counts": [[2, 0], [1, 1]]}
    assert json.loads((run.figures / "classes.json").read_text())["data"]["accuracy"] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("pretrain", ["Rotation accuracy", "Probes on frozen features", "Few-shot", "Losses"]),
        ("finetune", ["Confusion matrix", "Accuracy by class", "Losses"]),
        ("upright", ["Probably stored turned", "What each measure adds"]),
    ],
)
def test_of_the_first_versions_run_is_made(tmp_path: Path, kind: str, words: list[str]) -> None:
    run = Run.open(shutil.copytree(FORMER / kind, tmp_path / kind))
    text = write_report(run).read_text()
    Elements(text)
    for word in words:
        assert word in text, word
    assert "1,267 images: not used" in text or kind == "upright"


def test_that_cannot_be_made_is_logged_and_raises_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Run) -> Path:
        raise RuntimeError("no room")

    monkeypatch.setattr(module, "write_report", broken)
    with caplog.at_level(logging.WARNING, logger="quarterturn"):
        assert refresh_report(run) is None
    assert "no room" in caplog.text
    assert f"quarterturn report {run.path}" in caplog.text


def test_an_interrupt_is_not_swallowed(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt), never_fatal("the page", run):
        raise KeyboardInterrupt
