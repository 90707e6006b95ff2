"""A training that is given a time: ``pretrain --budget``."""

from __future__ import annotations

import logging
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

import quarterturn.pretraining.pretrain as command
import quarterturn.pretraining.rehearsal as rehearsal
from quarterturn import ConfigError, pretrain, resume
from quarterturn.cli import main
from quarterturn.config.time_budget import seconds_of
from quarterturn.engine import step_time
from quarterturn.methods.configuration import Config
from quarterturn.presets import preset
from quarterturn.runs import Run, time_budget
from quarterturn.runs.time_budget import Cost, choose_epochs
from tests.fixtures.runs import QUICK

from ..engine.equality import assert_same_checkpoint
from ..engine.processes import as_group

SMALL = {name: value for name, value in QUICK.items() if name != "epochs"}


class TestSeconds:
    @pytest.mark.parametrize(
        ("words", "seconds"),
        [
            ("90s", 90),
            ("30m", 1800),
            ("2h", 7200),
            ("1h30m", 5400),
            ("1.5h", 5400),
            ("1d 2H", 93600),
        ],
    )
    def test_words_are_read(self, words: str, seconds: float) -> None:
        assert seconds_of(words) == seconds

    @pytest.mark.parametrize("words", ["30", "", "h", "0s", "-5m", "30m1h", "2 weeks", "400d"])
    def test_what_is_no_time_is_refused(self, words: str) -> None:
        with pytest.raises(ConfigError, match="expected a time from 1s to 366d"):
            seconds_of(words)


class TestEpochs:
    def test_steps_evaluations_and_page_count(self) -> None:
        # 30 epochs of 100 s with a tenth for the page, and 10 evaluations of 20 s: 3,500 s.
        cost = Cost(step_s=0.5, steps_per_epoch=200, evaluation_s=20)
        assert cost.training_s(30) == pytest.approx(3500)
        assert cost.epochs_within(3501) == 30
        assert cost.epochs_within(3499) == 29

    def test_fewer_evaluations_leave_room_for_epochs(self) -> None:
        often = Cost(step_s=0.5, steps_per_epoch=200, evaluation_s=20, every=1)
        assert often.epochs_within(3501) == 26

    def test_no_epoch_fits_into_less(self) -> None:
        assert Cost(step_s=1, steps_per_epoch=10).epochs_within(10.9) == 0
        assert Cost(step_s=1, steps_per_epoch=10).epochs_within(11.1) == 1
        assert Cost(step_s=1, steps_per_epoch=10).epochs_within(-50) == 0  # all went on timing

    def test_the_message_says_what_would_fit(self, caplog: pytest.LogCaptureFixture) -> None:
        cost, config = Cost(step_s=2, steps_per_epoch=5000), preset("folder")
        given = {"budget_s": 600.0, "left_s": 550.0, "num_images": 320_000}
        told = (
            r"^--budget 10m: 20 steps took 2.0 s each, so an epoch of 5,000 steps over 320,000 "
            r"images takes 2.8 h, and not one fits: give --budget 4h or more, or a smaller --limit "
        )
        with pytest.raises(ConfigError, match=told):
            choose_epochs(config, cost, "10m", **given)
        # A time that nobody asked for stops nothing.
        assert choose_epochs(config, cost, "1h", **given, at_most=100).run.epochs == 1
        assert "one epoch, which is longer; give --budget 4h or more" in caplog.text

    def test_recipe_bounds_a_time_nobody_asked_for(self) -> None:
        cost, config = Cost(step_s=0.001, steps_per_epoch=10), preset("folder")
        given = {"budget_s": 3600.0, "left_s": 3600.0, "num_images": 640}
        assert choose_epochs(config, cost, "1h", **given, at_most=100).run.epochs == 100
        assert choose_epochs(config, cost, "1h", **given).run.epochs > 300_000


@pytest.fixture
def steps_take(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a step seems to take, on a machine where nothing else takes any."""
    seconds, plain = [0.5], step_time.time_steps

    def time_steps(training, **how_many):
        assert plain(training, **how_many) > 0
        assert training.step == 23
        return seconds[0]

    monkeypatch.setattr(time_budget, "time_steps", time_steps)
    for module in (command, rehearsal, time_budget):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: 7.0))
    return seconds


class TestPretrain:
    def test_the_copy_leaves_no_trace(
        self, steps_take: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The run is, to the last bit, the one of somebody who asked for as many epochs."""
        with caplog.at_level(logging.INFO, "quarterturn"):
            run = pretrain("digits", out=tmp_path / "timed", budget="8s", **SMALL)
        said = "--budget 8s: 20 steps took 500 ms each, so an epoch of 4 steps over 120 images"
        assert said in caplog.text
        assert "3 epochs (the recipe has 25), " in caplog.text
        assert Run.open(run.path).config.run.epochs == 3
        same = pretrain("digits", out=tmp_path / "same", epochs=3, **SMALL)
        assert_same_checkpoint(run.path, same.path)

    def test_a_start_is_timed_and_kept(
        self, steps_take: list[float], digits_run: Run, tmp_path: Path
    ) -> None:
        given = {"start": digits_run.path, "method": "distill", "image_size": 16, "device": "cpu"}
        given |= {"limit": 120, "batch_size": 60, "diagnostics": False}
        run = pretrain("digits", out=tmp_path / "run", budget="5s", **given)
        assert run.config.run.epochs == 4
        assert run.config.method.name == "distill"

    def test_networks_trained_first_come_on_top(
        self,
        steps_take: list[float],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def start(runs: list[Run], *_: object, **__: object) -> None:
            assert runs[0].config.run.epochs == 3
            raise InterruptedError

        monkeypatch.setattr(command, "starting", start)
        with (
            caplog.at_level(logging.INFO, "quarterturn"),
            pytest.raises(InterruptedError),
        ):
            pretrain("digits", out=tmp_path / "run", budget="8s", upright="auto", **SMALL)
        assert "that --upright auto trains first come on top of that time" in caplog.text

    def test_too_little_time_leaves_no_run(self, steps_take: list[float], tmp_path: Path) -> None:
        steps_take[0] = 20
        with pytest.raises(ConfigError, match="and not one fits: give --budget 88s or more"):
            pretrain("digits", out=tmp_path / "run", budget="10s", **SMALL)
        assert not (tmp_path / "run").exists()

    def test_time_and_epochs_are_refused_together(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        told = "give --budget 1h or --epochs 3, not both: the budget chooses the epochs"
        with pytest.raises(ConfigError, match=told):
            pretrain("digits", out=tmp_path / "run", budget="1h", epochs=3)
        words = ["pretrain", "digits", "--out", str(tmp_path / "run")]
        assert main([*words, "--budget", "1h", "--epochs", "3"]) == 2
        assert told in " ".join(capsys.readouterr().err.split())
        assert main([*words, "--budget", "soon"]) == 2
        assert "expected a time from 1s to 366d" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()

    def test_a_budget_is_the_runs_when_resumed(
        self, digits_run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["pretrain", "--resume", str(digits_run.path), "--budget", "1h"]) == 2
        assert "takes --budget from the run: leave it out" in capsys.readouterr().err
        resume(digits_run.path)


class TestPhotos:
    @pytest.fixture
    def budgets(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The times that trainings are given, none of which goes on from there."""
        given: list[str] = []

        def within(budget: str, *_: object) -> None:
            given.append(budget)
            raise InterruptedError

        def start(*_: object, **__: object) -> None:
            given.append("none")
            raise InterruptedError

        monkeypatch.setattr(command, "within", within)
        monkeypatch.setattr(command, "starting", start)
        return given

    @pytest.mark.parametrize(
        ("words", "budget"),
        [
            ("", "auto"),
            ("--limit 20", "auto"),
            ("--budget 2h", "2h"),
            ("--budget none", "none"),
            ("--epochs 3", "none"),
            ("--preset folder", "none"),
            ("--preset folder --budget auto", "auto"),
            ("--upright auto", "auto"),
        ],
    )
    def test_an_hour_where_nobody_says_how_long(
        self, words: str, budget: str, photos: Path, budgets: list[str]
    ) -> None:
        given = ["pretrain", str(photos), "--device", "cpu", *words.split()]
        with pytest.raises(InterruptedError):
            main(given)
        assert budgets == [budget]

    def test_in_python_too(self, photos: Path, budgets: list[str]) -> None:
        for settings in ({}, {"epochs": 3}, {"config": preset("folder")}, {"preset": "folder"}):
            with pytest.raises(InterruptedError):
                pretrain(photos, device="cpu", **settings)
        with pytest.raises(InterruptedError):
            pretrain("digits", device="cpu")
        assert budgets == ["auto", "none", "none", "none", "none"]


def decide(rank: int, folder: str) -> None:
    """One of two processes, whose clocks run at different speeds."""
    ticks = count(step=30 * (rank + 1))
    step_time.time = SimpleNamespace(perf_counter=lambda: next(ticks))  # type: ignore[attr-defined]
    plain = rehearsal.choose_epochs

    def choose(config: Config, cost: Cost, *rest: str, **more: object) -> Config:
        Path(folder, str(rank)).write_text(f"{cost.step_s} {plain(config, cost, *rest, **more)}")
        return config.with_settings(epochs=1)

    rehearsal.choose_epochs = choose
    pretrain("digits", out=f"{folder}/run", budget="1m", **SMALL)


@pytest.mark.slow
def test_the_first_process_decides(tmp_path: Path) -> None:
    as_group(2, decide, str(tmp_path))
    one, other = ((tmp_path / rank).read_text() for rank in "01")
    assert one.startswith("1.5 Config(")
    assert one == other
