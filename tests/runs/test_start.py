from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quarterturn import ConfigError, DataError, demo, finetune, import_checkpoint, pretrain, upright
from quarterturn.data.source import Source
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import OutputError
from quarterturn.methods.configuration import Config
from quarterturn.runs import Run
from quarterturn.runs.start import fit_batch_size, starting
from tests.fixtures.runs import QUICK

SMALL = {"limit": 40, "epochs": 1, "batch_size": 20, "device": "cpu"}
STARTS: dict[str, Callable[..., object]] = {
    "pretrain": lambda out: pretrain("digits", out=out, **QUICK),
    "upright": lambda out: upright("digits", out=out, folds=2, **SMALL),
    "finetune": lambda out: finetune("digits", out=out, **SMALL),
    "finetune --seeds 2": lambda out: finetune("digits", out=out, seeds=2, **SMALL),
    "demo": lambda out: demo("digits", out=out, limit=60),
}


def fail(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("command", STARTS)
def test_a_full_disk_at_the_start_leaves_no_run(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quarterturn.files.os.replace", fail)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        STARTS[command](tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", STARTS)
def test_images_that_fail_before_the_first_step_leave_no_run(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DataError("too many image files cannot be read")

    monkeypatch.setattr("quarterturn.runs.life_cycle.prepare", refuse)
    with pytest.raises(DataError, match="too many"):
        STARTS[command](tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_importing_leaves_no_run(
    digits_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quarterturn import export

    export(digits_run.path, format="safetensors", out=tmp_path / "weights.safetensors")
    monkeypatch.setattr("quarterturn.engine.checkpoint.torch.save", fail)
    with pytest.raises(ConfigError.__base__, match="No space left on device"):
        import_checkpoint(tmp_path / "weights.safetensors", out=tmp_path / "run")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("run")]


class TestStarting:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Run:
        return Run(tmp_path / "run", "digits", Config(), "abc")

    @pytest.fixture
    def start(self, run: Run, digits_source: Source) -> Callable[..., object]:
        def write(draft: Run) -> None:
            assert draft.path != run.path
            (draft.path / "items.csv").write_text("index\n")

        runtime = Runtime("cpu", "32-true")
        return lambda **options: starting([run], runtime, digits_source, write, **options)

    def test_the_directory_is_whole_within_the_block(self, run, start) -> None:
        with start(overwrite=False):
            written = set(os.listdir(run.path))
        assert {"config.json", "environment.json", "items.csv", "checkpoints"} <= written

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
    def test_other_ends_leave_the_run_to_be_resumed(self, run, start, error) -> None:
        with pytest.raises(error), start(overwrite=False):
            raise error
        assert Run.open(run.path).config == run.config

    def test_a_training_that_is_under_way_stays(self, run, start) -> None:
        def fail_late() -> None:
            run.metrics_file.touch()
            raise DataError

        with pytest.raises(DataError), start(overwrite=False):
            fail_late()
        assert run.metrics_file.exists()

    def test_an_earlier_run_stays_until_the_new_is_whole(self, run, start, monkeypatch) -> None:
        run.create()
        run.checkpoint.write_text("earlier")
        with monkeypatch.context() as patch:
            patch.setattr("quarterturn.runs.start.write_json", fail)
            with pytest.raises(OSError, match="No space"), start(overwrite=True):
                pass
        assert run.checkpoint.read_text() == "earlier"
        assert os.listdir(run.path.parent) == ["run"]
        with start(overwrite=True):
            assert not run.checkpoint.exists()


def test_a_batch_shrinks_to_the_data(caplog) -> None:
    caplog.set_level("INFO")
    runtime, config = Runtime("cpu", "32-true"), Config().with_settings(batch_size=64)
    assert fit_batch_size(config, 40, runtime).run.batch_size == 40
    assert "batch size 64 is larger than the data: using 40" in caplog.text
    assert fit_batch_size(config, 64, runtime) == config


def test_parts_of_a_batch_need_two_images() -> None:
    config = Config().with_settings(batch_size=8, accumulate=5)
    with pytest.raises(ConfigError, match="each part needs at least 2 images"):
        fit_batch_size(config, 100, Runtime("cpu", "32-true"))
