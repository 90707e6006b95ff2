"""Files of runs that were damaged or edited, as every command that reads a run meets them.

Each command ends with words: a status of 2 and a message, or 0 and a warning; never a traceback.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarterturn import finetune, probe
from quarterturn.cli import main
from quarterturn.errors import DataError
from quarterturn.orientation.upright_table import UprightTable
from quarterturn.runs import Run

SEED = 17
VALUES = (None, True, -1, 1e30, "x", [], {}, [[]], {"a": 1})


@pytest.fixture(scope="module")
def probed(digits_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining with a probe and its kept features."""
    path = tmp_path_factory.mktemp("probed") / "pre"
    ignored = shutil.ignore_patterns("probes", "features")  # of other tests
    shutil.copytree(digits_run.path, path, ignore=ignored)
    probe(path, "digits", kind="knn", limit=60, untrained=False, device="cpu", workers=0)
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("classifier") / "fine"
    finetune("digits", out=out, epochs=1, limit=60, batch_size=30, device="cpu")
    return out


@pytest.fixture
def pre(probed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(probed, tmp_path / "pre"))


@pytest.fixture
def fine(classifier: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(classifier, tmp_path / "fine"))


def report(run: Path) -> list[str]:
    return ["report", str(run)]


def compare(run: Path) -> list[str]:
    return ["compare", str(run), "--out", str(run / "x.json"), "--overwrite"]


def resume(run: Path) -> list[str]:
    return [{"pre": "pretrain", "fine": "finetune"}[run.name], "--resume", str(run)]


def embed(run: Path) -> list[str]:
    return ["embed", str(run), "--out", str(run / "e.csv"), "--overwrite"]


def ends_in_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The message of a command that ends with 2, or what it has warned about."""
    status = main(words)
    said = " ".join(capsys.readouterr().err.split())  # the terminal breaks lines
    assert status in (0, 2), said
    assert (status == 2) == ("quarterturn: " in said), said
    return said


Command = Callable[[Path], list[str]]


@pytest.mark.parametrize("text", ["{nonsense", "[1]"])
@pytest.mark.parametrize(
    ("file", "commands"),
    [
        ("config.json", (report, compare, resume, embed)),
        ("environment.json", (report, compare, resume)),
        ("facts.json", (report,)),
        ("probes/*.json", (report, compare)),
        ("figures/clusters.json", (report,)),
        ("pictures/collection.json", (report,)),
        ("items.csv", (report,)),
    ],
)
def test_no_file_of_a_pretraining_ends_in_a_traceback(
    pre: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    commands: tuple[Command, ...],
    text: str,
) -> None:
    for path in pre.glob(file):
        path.write_text(text, "latin-1")
    for command in commands:
        said = ends_in_words(command(pre), capsys)
        if file in ("config.json", "environment.json") and command is not resume:
            assert "is damaged" in said or "cannot be" in said


@pytest.mark.parametrize("text", ["[1]", "{}"])
def test_damaged_results_of_a_classifier(
    fine: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    before = (fine / "results.json").read_text()
    (fine / "results.json").write_text(text)
    for command in (report, compare):
        assert "results.json" in ends_in_words(command(fine), capsys)
    said = ends_in_words(resume(fine), capsys)
    assert "the classifier is tested again" in said
    assert (fine / "results.json").read_text() == before


def paths_within(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every value in nested JSON."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = []
    for key, value in entries:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += paths_within(value, (*path, key))
    return found


def change(file: Path, random: np.random.Generator) -> None:
    """Give one value of a JSON file another one, or remove it."""
    tree = json.loads(file.read_text())
    *outer, last = (paths := paths_within(tree))[int(random.integers(len(paths)))]
    place = tree
    for key in outer:
        place = place[key]
    number = int(random.integers(len(VALUES) + 1))
    if number < len(VALUES):
        place[last] = VALUES[number]
    elif isinstance(place, dict):
        del place[last]
    file.write_text(json.dumps(tree))


@pytest.mark.parametrize(
    ("file", "command", "cases"),
    [
        ("config.json", report, 16),
        ("config.json", embed, 8),
        ("environment.json", compare, 8),
        ("probes/*.json", compare, 12),
        ("facts.json", report, 2),
        ("environment.json", report, 1),
    ],
)
def test_one_changed_value_ends_in_words(
    pre: Path,
    probed: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    command: Command,
    cases: int,
) -> None:
    random = np.random.default_rng(SEED)
    for path in pre.glob(file):
        for _ in range(cases):
            shutil.copyfile(probed / path.relative_to(pre), path)
            change(path, random)
            ends_in_words(command(pre), capsys)


def test_one_changed_value_of_a_classifiers_results(
    fine: Path, classifier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(SEED)
    for _ in range(4):
        shutil.copyfile(classifier / "results.json", fine / "results.json")
        change(fine / "results.json", random)
        for command in (report, compare):
            ends_in_words(command(fine), capsys)


def test_damaged_features_are_computed_again(pre: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One bit of each kept part; the figures are those of the first probe."""
    (result,) = (pre / "probes").glob("*.json")
    before = json.loads(result.read_text())["scores"]
    result.unlink()
    parts = sorted(pre.glob("features/*/0.npy"))
    for part in parts:
        content = bytearray(part.read_bytes())
        content[-5] ^= 64
        part.write_bytes(content)
    words = ["probe", str(pre), "digits", "--kind", "knn", "--limit", "60", "--no-untrained"]
    said = ends_in_words([*words, "--device", "cpu", "--workers", "0"], capsys)
    assert said.count("are damaged (0.npy is not as it was written)") == len(parts) > 0
    assert json.loads(result.read_text())["scores"] == before


def test_no_damaged_table_is_read(tmp_path: Path, rng: np.random.Generator) -> None:
    """Twenty bits of upright probabilities: none is read silently."""
    path = tmp_path / "upright.npz"
    p = np.full((9, 4, 4), 0.25, dtype=np.float32)
    table = UprightTable([f"{i}.png" for i in range(9)], p, p[:, 0, 0], np.arange(9) % 2, "beef")
    table.write(path)
    whole = path.read_bytes()
    start = whole.index(p.tobytes())
    for bit in (8 * start + rng.choice(8 * p.nbytes, 20, replace=False)).tolist():
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="Bad CRC-32"):
            UprightTable.read(path)
