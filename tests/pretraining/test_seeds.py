"""``pretrain --seeds``: several trainings by one command, each as it would be by itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import stdev

import pytest

from quarterturn import ConfigError, compare, pretrain, probe, resume
from quarterturn.cli import main
from quarterturn.engine import loop
from quarterturn.pretraining import rehearsal
from quarterturn.runs import Run
from quarterturn.runs.time_budget import Cost
from tests.engine.equality import assert_same_checkpoint, metrics_without_times
from tests.engine.processes import as_group
from tests.fixtures.runs import QUICK, no_pages

TINY = {**QUICK, "epochs": 1, "limit": 64}


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds 3 and 4, each of two epochs of two steps."""
    path = tmp_path_factory.mktemp("seeds") / "runs"
    words = "--seeds 2 --seed 3 --method decoupling --epochs 2 --limit 64 --num-noise 16"
    words += f" --batch-size 32 --device cpu --out {path}"
    with no_pages():
        assert main(["pretrain", "digits", *words.split()]) == 0
    return path


def test_each_seed_is_the_run_it_is_by_itself(group: Path, tmp_path: Path, without_page) -> None:
    alone = pretrain("digits", out=tmp_path / "alone", seed=4, **{**QUICK, "limit": 64})
    assert_same_checkpoint(alone.path, group / "seed-4")
    assert metrics_without_times(alone.path) == metrics_without_times(group / "seed-4")
    assert alone.config == Run.open(group / "seed-4").config


def test_mean_and_spread_are_beside_them(group: Path) -> None:
    summary = json.loads((group / "summary.json").read_text())
    assert summary["seeds"] == [3, 4]
    found = summary["diagnostics"]["leakage_fresh_head"]
    last = [
        Run.open(group / f"seed-{seed}").read_metrics("diagnostics")[-1]["leakage_fresh_head"]
        for seed in (3, 4)
    ]
    assert found["values"] == last
    assert found["mean"] == pytest.approx(sum(last) / 2)
    assert found["spread"] == pytest.approx(stdev(last))
    (row,) = [row for row in summary["table"]["rows"] if row[0].startswith("a fresh linear head")]
    assert row[1] == f"{50 * sum(last):.1f} ± {100 * stdev(last):.1f}"
    assert "elapsed_s" not in summary["diagnostics"]


def test_an_interruption_is_resumed_by_one_command(
    group: Path, tmp_path: Path, monkeypatch, capsys, without_page
) -> None:
    out, plain, steps = tmp_path / "runs", loop.training_step, []

    def stopping(training: loop.Training, *rest):
        steps.append(training.step)
        if len(steps) == 7:  # amid the second epoch of the second seed
            raise KeyboardInterrupt
        return plain(training, *rest)

    settings = {**QUICK, "limit": 64, "checkpoint_every": 1}
    with monkeypatch.context() as patch:
        patch.setattr(loop, "training_step", stopping)
        with pytest.raises(KeyboardInterrupt) as stop:
            pretrain("digits", out=out, seeds=2, seed=3, **settings)
    assert f"resume with: quarterturn pretrain --resume {out}" in str(stop.value.__notes__)
    assert not (out / "summary.json").exists()
    first = (out / "seed-3" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert main(["pretrain", "--resume", str(out)]) == 0
    printed = " ".join(capsys.readouterr().err.split())
    assert "seed-3 is finished: nothing to do" in printed
    assert (out / "seed-3" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == first
    for seed in (3, 4):
        assert_same_checkpoint(out / f"seed-{seed}", group / f"seed-{seed}")
    same = json.loads((group / "summary.json").read_text())
    assert json.loads((out / "summary.json").read_text()) == same
    assert [run.config.run.seed for run in resume(out)] == [3, 4]
    with pytest.raises(ConfigError, match=r"batch_size: 8 -> 32"):
        resume(out, config=Run.open(out / "seed-3").config.with_settings(batch_size=8))


def test_two_seeds_are_probed_and_compared(group: Path, tmp_path: Path) -> None:
    runs = [group / "seed-3", group / "seed-4"]
    for run in runs:
        probe(run, "digits", kind="knn", limit=60, seeds=1, untrained=False, device="cpu")
    found = compare(runs, out=tmp_path / "x.json")
    (compared,) = found.groups
    assert len(compared.runs) == 2
    assert main(["probe", str(group), "digits"]) == 2


def test_a_budget_is_shared_by_the_seeds(tmp_path: Path, monkeypatch, caplog) -> None:
    cost = Cost(step_s=1.0, steps_per_epoch=2)  # 2.2 s an epoch with its page
    monkeypatch.setattr(rehearsal, "measure_cost", lambda job: cost)
    monkeypatch.setattr(rehearsal.time, "perf_counter", lambda: 7.0)
    given = {name: value for name, value in TINY.items() if name != "epochs"}
    caplog.set_level("INFO", "quarterturn")
    made = pretrain("digits", out=tmp_path / "x", seeds=3, budget="15s", dry_run=True, **given)
    assert [run.config.run.epochs for run in made] == [2, 2, 2]
    assert "2 epochs for each of 3 seeds (the recipe has 25), 13 s with" in caplog.text
    with pytest.raises(ConfigError, match="not one fits: give --budget 7s or more"):
        pretrain("digits", out=tmp_path / "x", seeds=3, budget="5s", dry_run=True, **given)


def test_a_dry_run_counts_every_seed(tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO", "quarterturn")
    one = pretrain("digits", out=tmp_path / "x", dry_run=True, **TINY)
    room = caplog.text.partition("checkpoints take ")[2].split(" MB")[0]
    caplog.clear()
    made = pretrain("digits", out=tmp_path / "x", seeds=4, dry_run=True, **TINY)
    assert isinstance(one, Run)
    assert [run.path.name for run in made] == ["seed-0", "seed-1", "seed-2", "seed-3"]
    assert "4 seeds, one after the other: " in caplog.text
    rooms = caplog.text.partition("checkpoints take ")[2].split(" MB")[0]
    assert int(rooms) == pytest.approx(4 * int(room), abs=4)
    assert not (tmp_path / "x").exists()


def test_earlier_seeds_are_kept_or_overwritten(group: Path, tmp_path: Path, without_page) -> None:
    out = tmp_path / "runs"
    shutil.copytree(group, out)
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match="runs exists; choose another --out"):
            pretrain("digits", out=out, seeds=3, dry_run=dry_run, **TINY)
    pretrain("digits", out=out, seeds=2, overwrite=True, **{**TINY, "epochs": 0})
    assert sorted(file.name for file in out.iterdir()) == ["seed-0", "seed-1", "summary.json"]


def command(rank: int, words: list[str]) -> None:
    """Run a command as one of several processes."""
    raise SystemExit(main(words))


@pytest.mark.slow
def test_two_processes_train_several_seeds(tmp_path: Path) -> None:
    words = "pretrain digits --method rotnet --epochs 1 --limit 64 --batch-size 32 --device cpu"
    out = tmp_path / "runs"
    as_group(2, command, [*words.split(), "--no-diagnostics", "--seeds", "2", "--out", str(out)])
    assert [Run.open(out / f"seed-{seed}").epochs_done() for seed in (0, 1)] == [1, 1]
    assert json.loads((out / "summary.json").read_text())["seeds"] == [0, 1]
