"""Commands that are killed at any moment end as if nothing had happened, once they are resumed.

The moments are drawn from a seed among all events of a command: its training steps, and every file
that it opens for writing, renames or removes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from quarterturn.files import SUFFIX
from quarterturn.runs.lock import FILE as LOCK
from tests.engine.equality import assert_same
from tests.engine.processes import draw_no_page, kill_at_event, kill_at_step, quarterturn, started

SEED = int(os.environ.get("KILL_SEED", "20261130"))
KILLS = 100
TWICE = 0.3
"""Share of the trials in which the resumed command is killed too."""
CLOCK = {"elapsed_s", "images_per_s", "seconds", "finished", "train s"}
UNLIKE = {"previous.ckpt", "environment.json", "MODEL_CARD.md", "items.csv", LOCK}
"""Not compared: the checkpoint before the last, the machine, dates, and what the index knew."""

TINY = "--epochs 2 --limit 40 --batch-size 20 --backbone convnet --device cpu --checkpoint-every 1"


@dataclass(frozen=True)
class Trial:
    """A command that is killed.

    Attributes:
        words: Of the command; RUN stands for the run, OUT for the folder of the trial.
        resume: Of the command that resumes, once the run is there; by default the same again.
        needs_run: Whether RUN is there beforehand.
    """

    words: str
    resume: str = ""
    needs_run: bool = False


TRIALS = {
    "pretrain": Trial(
        f"pretrain digits {TINY} --num-noise 8 --no-diagnostics --out RUN", "pretrain --resume RUN"
    ),
    "finetune": Trial(
        f"finetune digits {TINY} --seeds 2 --no-diagnostics --out RUN", "finetune --resume RUN"
    ),
    "upright": Trial(
        f"upright digits {TINY} --folds 2 --view-crops 1 --out RUN", "upright --resume RUN"
    ),
    "probe": Trial(
        "probe RUN digits --kind nonlinear --epochs 2 --limit 60 --no-untrained --seeds 1 "
        "--device cpu",
        needs_run=True,
    ),
    "neighbors": Trial("neighbors RUN digit-0003 --device cpu", needs_run=True),
    "embed": Trial("embed RUN --out OUT/x.npz --overwrite --device cpu", needs_run=True),
    "orient": Trial("orient RUN --in-sample --device cpu", needs_run=True),
    "export": Trial("export RUN --format safetensors --overwrite", needs_run=True),
}


def run_quietly(words: str, folder: Path, event: int = 0) -> int:
    """Run a command in a folder, killed at an event or not."""
    here = words.replace("RUN", str(folder / "run")).replace("OUT", str(folder))
    return quarterturn(*here.split(), log=folder / "log", sabotage=(sabotage, event, folder))


def sabotage(event: int, folder: Path) -> None:
    draw_no_page()
    kill_at_event(event, folder)


def contents(folder: Path) -> dict[str, Any]:
    """What a command has left: names of files to what must be the same in them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_dir() or path.name in UNLIKE or inside.parts[0] in ("log", "events"):
            continue
        if path.parent.name.startswith(".export-"):
            continue  # of an export that was killed; the next has a folder of its own
        if path.suffix == SUFFIX and inside.parts[0] != "run":
            continue  # beside an --out elsewhere, where no lock says whether it is being written
        found[str(inside)] = content(path, folder)
    return found


def content(path: Path, folder: Path) -> Any:
    if path.suffix in (".png", ".jpg"):
        return None
    if path.suffix == ".ckpt":
        state = torch.load(path, weights_only=True)
        state.pop("telemetry", None)  # times, and bytes of lines that hold times
        return state
    if path.suffix in (".npz", ".npy"):
        loaded = np.load(path)
        arrays = dict(loaded) if path.suffix == ".npz" else {"": loaded}
        return {name: (array.dtype.str, array.tolist()) for name, array in arrays.items()}
    if path.suffix == ".safetensors":
        return load_file(path)  # without its header, which holds dates
    text = path.read_bytes().decode(errors="replace").replace(str(folder), "FOLDER")
    if path.suffix == ".json":
        return without_clock(json.loads(text))
    if path.suffix == ".jsonl":
        return [without_clock(json.loads(line)) for line in text.splitlines()]
    return text


def without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_clock(v) for k, v in value.items() if k not in CLOCK}
    return [without_clock(v) for v in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Uninterrupted:
    """What a command leaves when nothing stops it, and how many events it has."""

    left: dict[str, Any]
    events: int


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Uninterrupted]:
    """By command; made when first asked for."""
    root = tmp_path_factory.mktemp("wholes")

    class Wholes(dict[str, Uninterrupted]):
        def __missing__(self, name: str) -> Uninterrupted:
            folder = root / name
            begin(name, folder, self)
            assert run_quietly(TRIALS[name].words, folder) == 0, (folder / "log").read_text()
            self[name] = Uninterrupted(contents(folder), int((folder / "events").read_text()))
            return self[name]

        @property
        def run(self) -> Path:
            assert self["pretrain"]
            return root / "pretrain" / "run"

    return Wholes()


def begin(name: str, folder: Path, wholes: Any) -> None:
    """Make the folder of a trial, with a run where the command needs one."""
    folder.mkdir(parents=True)
    if TRIALS[name].needs_run:
        shutil.copytree(wholes.run, folder / "run")


def end_after_kills(name: str, folder: Path, events: list[int]) -> None:
    """Run a command to its end, killed at these events of it and of those that resume it."""
    trial = TRIALS[name]
    for event in [*events, 0]:
        places = ("run/config.json", "run/seed-*[0-9]/config.json")
        begun = any(found for place in places for found in folder.glob(place))
        words = trial.resume if trial.resume and begun else trial.words
        status = run_quietly(words, folder, event)
        assert status == (-9 if event and status else 0), (folder / "log").read_text()


def assert_ends_alike(name: str, folder: Path, events: list[int], wholes: Any) -> None:
    whole = wholes[name]
    begin(name, folder, wholes)
    end_after_kills(name, folder, events)
    left = contents(folder)
    assert left.keys() == whole.left.keys(), f"{name} killed at {events}"
    for file, expected in whole.left.items():
        assert_same(left[file], expected, f"{name} killed at {events}: {file}")


def drawn(random_: random.Random, events: int) -> list[int]:
    """The events of a command, and perhaps of the one that resumes it, at which they are killed."""
    first = [random_.randint(1, events)]
    return [*first, random_.randint(1, events)] if random_.random() < TWICE else first


@pytest.mark.parametrize("name", ["pretrain", "finetune", "upright", "probe", "neighbors"])
def test_a_kill_changes_nothing(name: str, wholes: Any, tmp_path: Path) -> None:
    random_ = random.Random(f"{SEED} {name}")
    assert_ends_alike(name, tmp_path / name, drawn(random_, wholes[name].events), wholes)


@pytest.mark.slow
def test_a_hundred_kills_change_nothing(wholes: Any, tmp_path: Path) -> None:
    random_, names, kills, failed = random.Random(SEED), list(TRIALS), 0, []
    while kills < KILLS:
        name = names[kills % len(names)]
        events = drawn(random_, wholes[name].events)
        folder = tmp_path / f"{kills}"
        try:
            assert_ends_alike(name, folder, events, wholes)
        except AssertionError as error:
            failed.append(str(error))
        shutil.rmtree(folder)
        kills += len(events)
    assert not failed


def race(folder: Path, whole: dict[str, Any]) -> list[int]:
    """Resume a killed run by two commands at once; returns their exit statuses in order."""
    folder.mkdir()
    words = TRIALS["pretrain"].words.replace("RUN", str(folder / "run")).split()
    assert quarterturn(*words, log=folder / "log", sabotage=(kill_at_step, 2)) == -9
    logs = [folder.with_name(f"{folder.name}-{i}.log") for i in range(2)]
    resume = ("pretrain", "--resume", folder / "run")
    both = [started(*resume, log=log, sabotage=(draw_no_page,)) for log in logs]
    for one in both:
        one.join()
    left = contents(folder)
    for file in ("run/checkpoints/last.ckpt", "run/metrics.jsonl"):
        assert_same(left[file], whole[file], file)
    for one, log in zip(both, logs, strict=True):
        if one.exitcode:
            assert "run is in use by process " in log.read_text()
    return sorted(one.exitcode for one in both)


def test_of_two_resumes_at_once_one_is_refused(wholes: Any, tmp_path: Path) -> None:
    # One that comes when the other has ended finds nothing to do.
    assert race(tmp_path / "race", wholes["pretrain"].left) in ([0, 2], [0, 0])


@pytest.mark.slow
def test_two_resumes_at_once_ten_times(wholes: Any, tmp_path: Path) -> None:
    ends = [race(tmp_path / str(i), wholes["pretrain"].left) for i in range(10)]
    assert all(end in ([0, 2], [0, 0]) for end in ends)
    assert [0, 2] in ends
