"""Methods, backbones and presets of other packages; ``examples/barlow`` is one."""

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, fields
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
import torch

from quarterturn.config import MethodOptions, entry_points
from quarterturn.config.entry_points import callables_from, loaded_from
from quarterturn.errors import ConfigError
from quarterturn.kept_files import read_object

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "barlow"


@pytest.fixture
def declared(monkeypatch):
    """Declares entry points of a group, as if a package had them."""

    def declare(**values: str) -> None:
        found = [EntryPoint(name, value, "some.group") for name, value in values.items()]
        monkeypatch.setattr(entry_points, "_entry_points", lambda group: EntryPoints(found))

    return declare


class TestLoaded:
    def test_is_what_the_package_has(self, declared):
        declared(path="pathlib:Path", other="os:sep")
        assert loaded_from("some.group", (), lambda name, found: None) == {
            "path": Path,
            "other": os.sep,
        }

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("nowhere_at_all:x", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
            ("pathlib:Nothing", "AttributeError"),
            ("os:sep", "not wanted"),
        ],
    )
    def test_leaves_out_what_is_broken_and_says_so(self, declared, value, reason):
        declared(broken=value, path="pathlib:Path")
        with pytest.warns(UserWarning, match=f"'broken' of a package .* is left out: {reason}"):
            found = loaded_from(
                "some.group", (), lambda name, found: "not wanted" if found == os.sep else None
            )
        assert found == {"path": Path}

    def test_never_takes_the_place_of_ours(self, declared):
        declared(rotnet="pathlib:Path")
        with pytest.warns(UserWarning, match="the name is taken"):
            assert loaded_from("some.group", {"rotnet"}, lambda name, found: None) == {}


class TestCallables:
    def test_are_loaded_when_they_are_called(self, declared):
        declared(join="os.path:join", broken="nowhere_at_all:x")
        found = callables_from("some.group", ())
        assert found["join"]("a", "b") == os.path.join("a", "b")
        with pytest.raises(ConfigError, match="'broken' of a package cannot be loaded: Module"):
            found["broken"]()


def test_only_options_under_their_own_name_are_methods():
    from quarterturn.methods.registry import METHODS, _why_no_method

    assert "derived from MethodOptions" in _why_no_method("other", Path)
    assert "derived from MethodOptions" in _why_no_method("other", "os.sep")
    assert "have the name 'rotnet'" in _why_no_method("other", METHODS["rotnet"])
    assert [_why_no_method(*each) for each in METHODS.items()] == [None] * len(METHODS)
    assert issubclass(METHODS["rotnet"], MethodOptions)


@dataclass(frozen=True)
class OtherOptions(MethodOptions):
    """Options of a method from outside, one of which is called like something of ours."""

    name = "other"
    title = "another"
    meaning = "nothing"
    seeds: int = 3
    """How many."""


def test_options_from_outside_cannot_have_the_names_of_settings():
    from quarterturn.methods.registry import _why_no_method

    @dataclass(frozen=True)
    class Momentum(OtherOptions):
        momentum: float = 0.99

    class Untitled(MethodOptions):
        name = "other"

    reason = "its option 'momentum' is a setting of OptimizerConfig already"
    assert _why_no_method("other", Momentum) == reason
    assert _why_no_method("other", Untitled) == "its options have no title"


def test_an_option_of_the_command_concerns_only_its_own_method(monkeypatch):
    from quarterturn.cli.parsing import parse
    from quarterturn.methods.registry import METHODS

    monkeypatch.setitem(METHODS, "other", OtherOptions)
    assert parse(["pretrain", "digits", "--seeds", "2"]).keywords["seeds"] == 2
    with pytest.raises(ConfigError, match="other has an option 'seeds', which is one of this"):
        parse(["pretrain", "digits", "--method", "other"])


def test_every_group_of_settings_is_guarded():
    from quarterturn.config import GROUPS
    from quarterturn.methods.configuration import Config

    groups = {type(getattr(Config(), field.name)) for field in fields(Config)}
    assert groups - {type(Config().method)} == set(GROUPS)


@pytest.fixture
def installed(tmp_path):
    """The example as pip would install it, in a folder of its own."""
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE / "src" / "quarterturn_barlow", site / "quarterturn_barlow")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]
    about = site / f"quarterturn_barlow-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))
    return site


COMMANDS = """
import sys
from quarterturn.cli import main
for words in (
    "pretrain digits --preset digits-barlow --backbone barlow-tiny --epochs 1 --limit 96 --out run",
    "probe run digits --limit 96",
    "compare run --out compared.html",
):
    if (status := main(words.split())) != 0:
        sys.exit(f"{words}: {status}")
print("METHODS")
main(["pretrain", "--method", "barlow", "--help-all"])
"""


def test_the_example_is_a_method_like_any_other(installed, tmp_path):
    paths = [str(REPOSITORY / "src"), str(installed)]
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:quarterturn", "-c", COMMANDS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    assert "--off-diagonal" in printed.partition("METHODS")[2]
    shown = " ".join(printed.partition("METHODS")[2].split())
    assert "barlow (Barlow Twins)" in shown
    assert "From other packages: barlow-tiny." in " ".join(shown.replace("│", " ").split())
    run = tmp_path / "run"
    config = read_object(run / "config.json")["config"]
    assert config["method"]["name"] == "barlow"
    assert config["method"]["off_diagonal"] == 0.0051
    assert config["model"]["backbone"] == "barlow-tiny"
    assert read_object(run / "environment.json")["versions"]["quarterturn-barlow"] == "0.1.0"
    assert "Barlow Twins" in (run / "report.html").read_text("utf-8")
    assert "barlow" in (tmp_path / "compared.html").read_text("utf-8")


def test_the_examples_loss_is_that_of_its_paper(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE / "src")
    from quarterturn_barlow.method import cross_correlation_loss

    random = np.random.default_rng(0)
    one, other = random.normal(size=(2, 40, 6))
    other[:, :3] = one[:, :3]
    scaled = [(v - v.mean(axis=0)) / v.std(axis=0) for v in (one, other)]
    correlation = scaled[0].T @ scaled[1] / 40
    expected = sum(
        (1 - correlation[i, j]) ** 2 if i == j else 0.01 * correlation[i, j] ** 2
        for i in range(6)
        for j in range(6)
    )
    found = cross_correlation_loss(torch.tensor(one), torch.tensor(other), 0.01)
    assert float(found) == pytest.approx(expected / 6, rel=1e-3)
