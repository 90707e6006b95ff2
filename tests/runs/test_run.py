from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from quarterturn.errors import CheckpointError, ConfigError, OutputError
from quarterturn.methods.configuration import Config
from quarterturn.runs import Run
from quarterturn.runs.directory import check_place, new_directory
from quarterturn.runs.lock import FILE as LOCK
from quarterturn.weights.loading import load_backbone


def test_what_is_created_is_opened(tmp_path: Path) -> None:
    config = Config().with_settings(epochs=7, crop_scale=(0.3, 0.9))
    run = Run(tmp_path / "deep" / "run", "photos", config, "abc")
    run.create()
    assert Run.open(run.path) == run


def test_weights_kept_in_a_run_have_its_name_for_them(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", "photos", Config(), "abc", start="/elsewhere/theirs")
    run.create()
    within = Run(run.path / "upright", "photos", Config(), "abc", start=str(run.kept_start))
    assert within.began_with == run.began_with == "the weights of theirs"
    other = Run(tmp_path / "other", "photos", Config(), "abc", start=str(tmp_path / "start"))
    assert other.began_with == "the weights of start"


def test_only_our_own_directories_are_deleted(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").touch()
    with pytest.raises(ConfigError, match="exists"):
        check_place(mine, overwrite=False)
    with pytest.raises(ConfigError, match="does not delete it"):
        check_place(mine, overwrite=True)
    assert (mine / "photo.jpg").exists()
    (mine / "config.json").write_text('{"architectures": ["SomebodyElses"]}')
    with pytest.raises(ConfigError, match="does not delete it"):
        check_place(mine, overwrite=True)
    assert (mine / "photo.jpg").exists()

    ours = Run(tmp_path / "ours", "digits", Config(), "abc")
    ours.create()
    (tmp_path / "link").symlink_to(ours.path)
    with pytest.raises(ConfigError, match="does not delete it"):
        check_place(tmp_path / "link", overwrite=True)
    with new_directory(ours.path, overwrite=True):
        pass
    assert [path.name for path in ours.path.iterdir()] == [LOCK]


@pytest.mark.parametrize("kind", ["start", "upright", "data", "named data"])
def test_what_a_run_begins_with_is_not_deleted_for_it(tmp_path: Path, kind: str) -> None:
    old = Run(tmp_path / "old", "digits", Config(), "abc")
    old.create()
    (old.path / "upright.npz").touch()
    (old.path / "images").mkdir()
    images = str(old.path / "images")
    new = {
        "start": Run(old.path, "digits", Config(), "abc", start=str(old.path)),
        "upright": Run(
            old.path,
            "digits",
            Config().with_settings(upright=str(old.path / "upright.npz")),
            "abc",
        ),
        "data": Run(old.path, images, Config(), "abc"),
        "named data": Run(old.path, f"cifar10:{images}", Config(), "abc"),
    }[kind]
    with pytest.raises(ConfigError, match=r"--overwrite would delete .*, which the new run begins"):
        new.create(overwrite=True)
    assert (old.path / "upright.npz").exists()
    Run(old.path, str(tmp_path), Config(), "abc").create(overwrite=True)
    assert not (old.path / "upright.npz").exists()


def test_a_link_to_nowhere_is_something_that_exists(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="exists"):
        check_place(tmp_path / "link", overwrite=False)


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"), new_directory(tmp_path / "file" / "run"):
        pass


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere: there is no such run or file"):
        Run.open(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no run directory"):
        Run.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="file is a file; expected a run directory"):
        Run.open(tmp_path / "file")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json is damaged: Expecting"):
        Run.open(tmp_path)
    run = Run(tmp_path / "run", "digits", Config().with_settings(backbone="convnet"), "abc")
    run.create()
    for seed in (1, 0):
        Run(tmp_path / "several" / f"seed-{seed}", "digits", Config(), "abc").create()
    with pytest.raises(CheckpointError, match=r"name one of them, seed-0, seed-1$"):
        Run.open(tmp_path / "several")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_backbone(run.path)


def test_torch_free_modules_of_runs_load_no_torch():
    code = (
        "import sys, quarterturn.runs, quarterturn.runs.closing; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
