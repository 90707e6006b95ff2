"""More epochs for a run that has had its own: ``--resume RUN --epochs N``."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from quarterturn import ConfigError, finetune, pretrain, resume, resume_finetune
from quarterturn.cli import main
from quarterturn.engine import loop
from quarterturn.engine.checkpoint import load_checkpoint
from quarterturn.errors import CheckpointError
from quarterturn.pages.report import write_report
from quarterturn.presets import preset
from quarterturn.runs import Run
from quarterturn.runs.phases import carries_on, made_for_its_length
from tests.classifying.test_finetune import write_npz
from tests.engine.equality import assert_same_checkpoint, metrics_without_times
from tests.engine.processes import as_group
from tests.fixtures.runs import no_pages

TINY = {"method": "decoupling", "limit": 64, "num_noise": 16, "batch_size": 32, "device": "cpu"}
TINY |= {"checkpoint_every": 1, "log_every": 1, "diagnostics": False}
"""Epochs of two steps."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs of two epochs by schedule, and by schedule + 4 those that had four from the start."""
    folder = tmp_path_factory.mktemp("finished")
    constant, cosine = {"schedule": "step"}, {"warmup_steps": 2}
    with no_pages():
        return {
            "constant": pretrain("digits", out=folder / "a", epochs=2, **constant, **TINY),
            "constant 4": pretrain("digits", out=folder / "b", epochs=4, **constant, **TINY),
            "cosine": pretrain("digits", out=folder / "c", epochs=2, **cosine, **TINY),
            "cosine 4": pretrain(
                "digits", out=folder / "d", epochs=4, restarts=(2,), **cosine, **TINY
            ),
        }


def copy_of(run: Run, path: Path) -> Run:
    shutil.copytree(run.path, path)
    return Run.open(path)


def lengthen(run: Run, *words: str) -> int:
    return main(["pretrain", "--resume", str(run.path), *words])


def test_a_constant_schedule_goes_on(finished, tmp_path: Path, capsys) -> None:
    run = copy_of(finished["constant"], tmp_path / "run")
    assert lengthen(run, "--epochs", "4") == 0
    assert_same_checkpoint(run.path, finished["constant 4"].path)
    assert metrics_without_times(run.path) == metrics_without_times(finished["constant 4"].path)
    printed = " ".join(capsys.readouterr().err.split())
    assert "had 2 epochs and is to have 4: the schedule of the new ones is constant, continued" in (
        printed
    )
    assert "4 epochs (1 to 2, constant; 3 to 4, constant, continued) of 2 steps" in printed
    (phase,) = json.loads((run.path / "config.json").read_text())["phases"]
    assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d", phase.pop("begun"))
    assert phase == {"from_epoch": 2, "epochs": 2, "schedule": "constant, continued"}
    page = write_report(Run.open(run.path)).read_text("utf-8")
    assert "3 to 4" in page
    assert "constant, continued" in page


def test_a_warm_restart_is_exact_when_interrupted(
    finished, tmp_path: Path, monkeypatch, without_page
) -> None:
    run, plain = copy_of(finished["cosine"], tmp_path / "run"), loop.training_step

    def stopping(training: loop.Training, *rest):
        if training.step == 7:
            raise KeyboardInterrupt
        return plain(training, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "training_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            resume(run.path, config=run.config.with_settings(epochs=4, restarts=(2,)))
    assert not (run.path / "report.html").exists()  # it was of the former end
    assert Run.open(run.path).epochs_done() == 3.5
    assert lengthen(run) == 0
    assert_same_checkpoint(run.path, finished["cosine 4"].path)
    assert metrics_without_times(run.path) == metrics_without_times(finished["cosine 4"].path)
    rates = [line["learning_rate"] for line in run.read_metrics("train")]
    assert len(rates) == 8
    assert rates[4:] == rates[:4]  # two steps of warm-up, and the cosine
    assert rates[0] < rates[1] > rates[2] > rates[3]
    before = run.checkpoint.stat().st_mtime_ns
    assert lengthen(run, "--epochs", "4", "--restarts", "2") == 0
    assert run.checkpoint.stat().st_mtime_ns == before


def as_one_of_two(rank: int, *commands: list[str]) -> None:
    """Run commands one after the other, as one of several processes."""
    with no_pages():
        for words in commands:
            assert main(words) == 0


@pytest.mark.slow
def test_two_processes_lengthen_a_run_together(tmp_path: Path) -> None:
    words = ["--schedule", "step", "--limit", "64", "--batch-size", "32", "--device", "cpu"]
    begin = ["pretrain", "digits", "--method", "rotnet", *words, "--no-diagnostics"]
    out, whole = tmp_path / "run", tmp_path / "whole"
    as_group(
        2,
        as_one_of_two,
        [*begin, "--epochs", "1", "--out", str(out)],
        ["pretrain", "--resume", str(out), "--epochs", "3"],
        [*begin, "--epochs", "3", "--out", str(whole)],
    )
    assert_same_checkpoint(out, whole)
    assert metrics_without_times(out) == metrics_without_times(whole)
    (phase,) = json.loads((out / "config.json").read_text())["phases"]
    assert (phase["from_epoch"], phase["epochs"]) == (1, 2)


def test_an_unfinished_run_ends_its_schedule_first(finished, tmp_path: Path, without_page) -> None:
    run = copy_of(finished["cosine"], tmp_path / "run")
    run.previous_checkpoint.replace(run.checkpoint)
    assert Run.open(run.path).epochs_done() == 1.5
    assert lengthen(run, "--epochs", "4", "--restarts", "2") == 0
    assert_same_checkpoint(run.path, finished["cosine 4"].path)


def test_what_cannot_be_lengthened_is_refused(finished, capsys, tmp_path: Path) -> None:
    def refused(run: Run, *words: str) -> str:
        before = (run.path / "config.json").read_bytes()
        assert lengthen(run, *words) == 2
        assert (run.path / "config.json").read_bytes() == before
        assert (run.path / "report.html").exists()
        return " ".join(capsys.readouterr().err.split())

    cosine = finished["cosine"]
    found = refused(cosine, "--epochs", "4")
    assert f"--epochs 4 is more than the 2 of {cosine.path}, and the cosine schedule" in found
    assert "give --restarts 2 too, and the schedule begins again after epoch 2" in found
    assert "a run can be lengthened, not shortened" in refused(cosine, "--epochs", "1")
    assert "expected epochs below --epochs 4" in refused(cosine, "--epochs", "4", "--restarts", "5")
    found = refused(cosine, "--epochs", "4", "--restarts", "1", "3")
    assert "--restarts 1 3 would change the 2 epochs that" in found
    assert "expected --restarts 2, and later ones" in found
    found = refused(finished["cosine 4"], "--epochs", "6", "--restarts", "4")
    assert "expected --restarts 2 4" in found
    found = refused(finished["constant"], "--epochs", "4", "--batch-size", "8")
    assert "batch_size: 8 -> 32" in found
    assert "restarts: (1,) -> ()" in refused(cosine, "--restarts", "1")


def test_a_run_whose_sample_is_gone_stays_as_long(tmp_path: Path, capsys, without_page) -> None:
    labelled = tmp_path / "labelled.npz"
    given = {"probe_every": 1, "probe_data": write_npz(labelled, np.arange(40) % 2)}
    run = pretrain("digits", out=tmp_path / "run", epochs=1, schedule="step", **given, **TINY)
    labelled.unlink()
    before = {file: file.read_bytes() for file in run.path.glob("*.json")}
    assert lengthen(run, "--epochs", "2") == 2
    assert "labelled.npz" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in run.path.glob("*.json")} == before


def test_what_depends_on_the_length_is_named() -> None:
    plain = preset("digits").with_settings(schedule="step", method="decoupling")
    assert made_for_its_length(plain) == ""
    given = {"milestones": (0.5,), "factors": (1.0, 0.1)}
    assert made_for_its_length(plain.with_settings(**given)) == "the schedule's milestones"
    late = plain.with_settings(upright="auto", balance_semantic=True)
    assert made_for_its_length(late) == "the noise-aware phase, --reweight-from"
    by_epoch = plain.with_settings(balance_semantic=True, reweight_from_epoch=3)
    assert made_for_its_length(by_epoch) == ""
    drw = preset("digits-classifier").with_settings(schedule="step", reweight="drw")
    assert made_for_its_length(drw) == "--reweight-from"


@pytest.mark.parametrize(
    ("schedule", "epochs", "restarts", "carries"),
    [
        ("cosine", 20, (4, 10), True),
        ("cosine", 20, (4, 10, 12), True),
        ("cosine", 20, (4, 12), False),
        ("cosine", 20, (4,), False),
        ("cosine", 20, (5, 10), False),
        ("cosine", 9, (4,), False),
        ("step", 20, (4,), True),
        ("step", 20, (4, 12), True),
        ("step", 20, (), False),
    ],
)
def test_a_longer_run_begins_as_the_shorter_one(schedule, epochs, restarts, carries) -> None:
    before = preset("digits").with_settings(schedule=schedule, epochs=10, restarts=(4,))
    after = before.with_settings(epochs=epochs, restarts=restarts)
    assert carries_on(before, after) is carries


def test_weights_are_used_between_lengthening_and_training(finished, tmp_path: Path) -> None:
    run = copy_of(finished["cosine"], tmp_path / "run")
    stored = json.loads((run.path / "config.json").read_text())
    stored["config"]["run"]["epochs"] = 4
    (run.path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match="epochs 4, trained by 2"):
        Run.open(run.path).load_network()  # edited by hand, the cosine would be another
    stored["config"]["optimizer"]["restarts"] = [2]
    (run.path / "config.json").write_text(json.dumps(stored))
    Run.open(run.path).load_network()


def test_seeds_of_a_classifier_are_lengthened_together(
    tmp_path: Path, without_page, capsys
) -> None:
    data = write_npz(tmp_path / "a.npz", np.arange(100) % 2)
    given = {"preset": "digits-classifier", "image_size": 12, "crop_padding": 1, "holdout": 0.2}
    given |= {"reweight": "drw", "loss": "ldam", "reweight_from": 0.5, "device": "cpu", "seeds": 2}
    out, whole = tmp_path / "runs", tmp_path / "whole"
    finetune(data, out=out, epochs=2, **given)
    with pytest.raises(ConfigError, match="the cosine schedule, --reweight-from was made"):
        resume_finetune(out, config=Run.open(out / "seed-0").config.with_settings(epochs=4))
    longer = ["--epochs", "4", "--restarts", "2"]
    assert main(["finetune", "--resume", str(out / "seed-1"), *longer]) == 2
    assert f"lengthen all of them with --resume {out}" in " ".join(capsys.readouterr().err.split())
    assert main(["finetune", "--resume", str(out), *longer]) == 0
    runs = finetune(data, out=whole, epochs=4, restarts=(2,), **given)
    for run in runs:
        assert_same_checkpoint(out / run.path.name, run.path)
    summary = json.loads((out / "results.json").read_text())
    assert summary == json.loads((whole / "results.json").read_text())
    told = [line["epoch"] for line in runs[0].read_metrics("balance") if line["class_weights"]]
    assert told == [1, 3]  # the second half of each schedule


def test_solved_and_untrained_runs_have_no_epochs_to_add(make_run) -> None:
    run = make_run(epochs=0)
    with pytest.raises(ConfigError, match="in which nothing is trained by epochs: begin a new run"):
        resume(run.path, config=run.config.with_settings(epochs=3))


def test_a_checkpoint_says_what_it_was_trained_by(finished) -> None:
    state = load_checkpoint(finished["cosine 4"].checkpoint)
    assert state["settings"]["config"]["optimizer"]["restarts"] == (2,)
