from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from quarterturn.errors import ConfigError
from quarterturn.methods.configuration import Config
from quarterturn.runs import Run, prepare_seeds, seed_directory, seed_runs
from quarterturn.runs.directory import delete_run
from quarterturn.runs.lock import FILE as LOCK
from quarterturn.runs.seeds import finish_start


def make(path: Path, seed: int = 0) -> Run:
    run = Run(path, "photos", Config().with_settings(seed=seed), "abc")
    run.create()
    return run


def test_runs_are_found_by_seed(tmp_path: Path) -> None:
    made = [make(seed_directory(tmp_path / "runs", seed), seed) for seed in (10, 9)]
    assert seed_runs(tmp_path / "runs") == made[::-1]
    make(tmp_path / "one")
    assert seed_runs(tmp_path / "one") == []
    assert seed_runs(tmp_path / "nowhere") == []


def test_overwrite_deletes_earlier_runs_of_every_seed(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    prepare_seeds(runs, overwrite=False)  # nothing there, nothing to do
    for seed in range(3):
        make(seed_directory(runs, seed), seed)
    for name in ("results.json", "notes.txt"):
        (runs / name).touch()
    with pytest.raises(ConfigError, match="runs exists"):
        prepare_seeds(runs, overwrite=False)
    with pytest.raises(ConfigError, match=r"would delete .*seed-1/checkpoints, which"):
        prepare_seeds(runs, overwrite=True, needed=[seed_directory(runs, 1) / "checkpoints"])
    assert len(seed_runs(runs)) == 3
    prepare_seeds(runs, overwrite=True)
    assert [left.name for left in runs.iterdir()] == ["notes.txt"]


def test_a_start_killed_between_renames_is_finished(tmp_path: Path) -> None:
    make(seed_directory(tmp_path, 1), 1)
    draft = tmp_path / "seed-0.0123.partial"
    make(draft, 0)
    (draft / LOCK).touch()
    assert [run.config.run.seed for run in seed_runs(tmp_path)] == [1]
    finish_start(tmp_path)
    assert [run.config.run.seed for run in seed_runs(tmp_path)] == [0, 1]
    assert not draft.exists()


def test_a_start_killed_before_renames_is_begun_anew(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for seed in range(2):
        make(runs / f"seed-{seed}.0123.partial", seed)
        (runs / f"seed-{seed}.0123.partial" / LOCK).touch()
    finish_start(runs)
    assert seed_runs(runs) == []
    prepare_seeds(runs, overwrite=False)
    assert not runs.exists()


def test_a_run_is_deleted_whole_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    run = make(tmp_path / "run")

    def killed(path: Path) -> None:
        assert path != run.path
        (path / "config.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        delete_run(run.path)
    assert not run.path.exists()


def test_a_single_run_gives_way_too(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    prepare_seeds(run.path, overwrite=True)
    assert not run.path.exists()


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    ours = make(seed_directory(runs, 0))
    (runs / "seed-catalogue").mkdir()
    with pytest.raises(ConfigError, match=r"does not delete them: .*seed-catalogue"):
        prepare_seeds(runs, overwrite=True)
    (tmp_path / "link").symlink_to(runs)
    with pytest.raises(ConfigError, match="does not delete it"):
        prepare_seeds(tmp_path / "link", overwrite=True)
    assert ours.checkpoint.parent.exists()
