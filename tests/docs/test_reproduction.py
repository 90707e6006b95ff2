"""Tables of docs/results.md are made again: recipes fit records, and figures are compared."""

import argparse
import json
import re
import runpy
import sys
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import tyro
import yaml

from quarterturn.cli.parsing import parse

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
NAMES = sorted(path.stem for path in (DOCS / "results").glob("*.json"))


@pytest.fixture(scope="module", autouse=True)
def documents():
    """The modules beside the documents."""
    sys.path.insert(0, str(DOCS))
    names = ("recipes", "steps", "comparison", "tables")
    yield SimpleNamespace(
        main=import_module("reproduction").main,
        **{name: import_module(f"result_{name}") for name in names},
    )
    sys.path.remove(str(DOCS))


def test_every_table_of_the_page_comes_from_a_record(documents):
    page = documents.tables.BLOCK.sub("", (DOCS / "results.md").read_text("utf-8"))
    assert re.findall(r"^\|.*", page, re.MULTILINE) == []
    assert sorted(path.stem for path in (DOCS / "results").glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_recipe_fits_its_record(documents, name, tmp_path):
    recipe = documents.recipes.read_recipe(name)
    tables = json.loads((DOCS / "results" / f"{name}.json").read_text("utf-8"))["tables"]
    if recipe.not_run:
        return
    assert len(recipe.tables) == len(tables)
    for table, record in zip(recipe.tables, tables, strict=True):
        labels = {str(cell) for row in record["rows"] for cell in row[: len(table.labels)]}
        assert {*table.left_out, *table.no_accuracies} <= labels | set(record["columns"])
        assert set(table.columns) <= set(record["columns"])
        for number, label in enumerate(table.labels):
            there = {row[number] for row in record["rows"]}
            assert set(table.values.get(label, {})) <= there
        made = documents.comparison.made_columns(table, record)
        assert table.written or set(made) <= set(table.columns)
        # Every word that a file or a query needs is given.
        found = documents.comparison.compared(table, record, tmp_path)
        assert {figure.verdict for figure in found} == {documents.comparison.MISSING}


def lines_of(documents) -> list[list[str]]:
    """The words of the commands of all recipes, but those whose flags another one has too."""
    data = {name: f"/data/{name}" for name in documents.recipes.DATA}
    lines = {}
    for name in NAMES:
        for _, line in documents.recipes.read_recipe(name).lines():
            words = documents.recipes.split_line(line, data)
            chosen = {after for word, after in pairwise(words) if word in ("--method", "--preset")}
            flags = {word for word in words if word.startswith("--")}
            lines[*words[:2], frozenset(chosen), frozenset(flags)] = words
    return [
        words
        for (*kind, flags), words in lines.items()
        if not any(kind == other and flags < more for *other, more in lines)
    ]


def test_commands_of_recipes_are_understood(documents):
    calls = [words[1:] for words in lines_of(documents) if words[0] == "quarterturn"]
    assert len(calls) > 30
    for words in calls:
        assert parse(words).function.startswith("quarterturn."), words


class _ParsedError(Exception):
    """A script has read its words."""


def test_scripts_of_recipes_take_their_words(documents, monkeypatch):
    calls = [words for words in lines_of(documents) if words[0] == "python"]
    assert len(calls) > 10

    def after(read):
        def reading(*arguments, **options):
            read(*arguments, **options)
            raise _ParsedError

        return reading

    parse_args = argparse.ArgumentParser.parse_args
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", after(parse_args))
    monkeypatch.setattr(tyro, "cli", after(tyro.cli))
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    for _, script, *words in calls:
        if script.endswith("simclr_peer.py"):
            continue  # of a package that is not ours to require
        monkeypatch.setattr(sys, "argv", [script, *words])
        with pytest.raises(_ParsedError):
            runpy.run_path(str(REPOSITORY / script), run_name="__main__")


def write_table(folder: Path, recipe: dict, rows: list[list]) -> None:
    """A record of one table, with its recipe."""
    record = {
        "format": 1,
        "title": "A tiny table",
        "date": "2026-11-22",
        "machine": "one core",
        "command": [],
        "n": "one seed",
        "tables": [{"columns": ["what", "number"], "rows": rows}],
    }
    folder.mkdir(exist_ok=True)
    (folder / "tiny.json").write_text(json.dumps(record))
    (folder / "tiny.yaml").write_text(yaml.safe_dump({"cost": "seconds", **recipe}))


COUNTING = {"run": "python benchmarks/duplicates.py time 64", "name": "time"}
FAILING = {"run": "python no_such_script.py"}
COUNT = {"file": "time.txt", "query": "rows[?[0]=='groups'] | [0][1]", "columns": {"number": {}}}


def test_table_is_made_again_from_where_it_failed(documents, tmp_path, capfd):
    records, out = tmp_path / "records", tmp_path / "out"
    write_table(records, {"steps": [COUNTING, FAILING], "tables": [COUNT]}, [["groups", 1000]])
    again = ["tiny", "--records", str(records), "--out", str(out)]
    assert documents.main(again) == 2
    assert "ended with status 2; the same make command continues" in capfd.readouterr().err
    counted = (out / "time.txt").stat().st_mtime_ns

    # A recipe whose script is mended continues behind what is done.
    steps = [COUNTING, {"run": "mkdir -p made"}]
    write_table(records, {"steps": steps, "tables": [COUNT]}, [["groups", 1000]])
    assert documents.main(again) == 0
    assert (out / "time.txt").stat().st_mtime_ns == counted
    [figure] = json.loads((out / "comparison.json").read_text())
    assert 0 < figure["new"] < 64
    assert figure["difference"] == figure["new"] - 1000
    assert f"-{1000 - figure['new']}" in capfd.readouterr().out

    # Beside itself the new record is the same; beside a recipe of other commands it is refused.
    made = (out / "tiny.json").read_text()
    assert json.loads(made)["tables"][0]["rows"] == [["groups", figure["new"]]]
    (records / "tiny.json").write_text(made)
    assert documents.main(again) == 0
    assert "1 same" in capfd.readouterr().out
    write_table(records, {"steps": steps[1:], "tables": [COUNT]}, [["groups", 1]])
    assert documents.main(again) == 2
    assert "holds the results of other commands" in capfd.readouterr().err


def test_interrupted_training_is_resumed(documents, tmp_path):
    words = ["quarterturn", "pretrain", "digits", "--epochs", "3", "--out", "run"]
    assert documents.steps.resumed(words, tmp_path) == words
    (tmp_path / "run").mkdir()
    assert documents.steps.resumed(words, tmp_path) == [*words, "--overwrite"]
    (tmp_path / "run" / "config.json").write_text("{}")
    again = ["quarterturn", "pretrain", "--resume", "run"]
    assert documents.steps.resumed(words, tmp_path) == again
    assert documents.steps.command_of(again) == [sys.executable, "-m", *again]


@pytest.mark.parametrize(
    ("recorded", "new", "verdict"),
    [
        (0.9, 0.9004, "same"),  # as shown, in percent with one digit
        (0.9, 0.92, "within"),  # 95 % by 450 test images: 0.869 to 0.925
        (0.9, 0.93, "outside"),
        ({"mean": 0.9, "spread": 0.01}, 0.909, "within"),
        ({"mean": 0.9, "spread": 0.01}, {"mean": 0.911, "spread": 0.1}, "outside"),
        ({"median": 1.5, "lowest": 1.0, "highest": 3.0}, {"median": 2.9}, "within"),
        ({"median": 1.5, "lowest": 1.0, "highest": 3.0}, {"median": 0.9}, "outside"),
        ({"upright": 0.9, "turned": 0.5}, {"upright": 0.9, "turned": 0.7}, "outside"),
        (15, 16, "spread not recorded"),
        (0.9, None, "not found"),
        ("not run", 0.5, "spread not recorded"),
    ],
)
def test_verdict_is_by_what_the_record_allows(documents, recorded, new, verdict):
    comparison = documents.comparison
    found = comparison.compare_cell("row", "column", recorded, new, comparison.Form(), 450)
    assert found.verdict == verdict


def test_figures_over_seeds_have_mean_and_spread(documents, tmp_path):
    for seed, figure in enumerate([0.5, 0.7]):
        (tmp_path / f"{seed}.json").write_text(json.dumps({"upright": figure, "turned": 0.1}))
    recipe = documents.recipes.TableRecipe(
        file="$seed.json",
        query="$view",
        columns={"kNN": {}},
        each={"seed": [0, 1]},
        pair=True,
    )
    record = {"columns": ["method", "kNN"], "rows": [["ours", None]]}
    cell = documents.comparison.Figures(recipe, record, tmp_path).cell(["ours"], "kNN")
    assert cell["upright"] == pytest.approx({"mean": 0.6, "spread": 0.02**0.5})
    assert cell["turned"] == pytest.approx({"mean": 0.1, "spread": 0.0})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["no-such-table"], "there is no table no-such-table; there are"),
        (["demo-houses"], "demo-houses needs HOUSES (houses: 2,140 photos"),
        (["demo-houses", "--data", "HOUSES=/nowhere"], "HOUSES is /nowhere, which is not there"),
    ],
)
def test_what_is_missing_is_said_first(documents, words, expected, tmp_path, capsys):
    assert documents.main([*words, "--out", str(tmp_path / "out")]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_table_that_cannot_be_made_again_says_why(documents, tmp_path, capsys):
    write_table(tmp_path, {}, [["groups", 1]])
    (tmp_path / "tiny.yaml").write_text("not_run: its option is gone\n")
    assert documents.main(["tiny", "--records", str(tmp_path)]) == 2
    assert "tiny cannot be made again: its option is gone" in capsys.readouterr().err
    assert documents.main(["--records", str(tmp_path)]) == 0
    assert "cannot be made again: its option is gone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"steps": [], "cost": ""}, "expected steps, or not_run"),
        ({"steps": [{"run": "mkdir a"}]}, "steps need a cost"),
        ({"steps": [{"run": "mkdir a"}], "cost": "1 s", "price": 2}, "price"),
        ({"steps": [{"run": "mkdir a\nmkdir b", "name": "a"}], "cost": "1 s"}, "under one name"),
    ],
)
def test_recipe_of_another_form_is_refused(documents, recipe, message, tmp_path):
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(ValueError, match=message):
        documents.recipes.read_recipe("odd", tmp_path)


def test_unknown_data_and_programs_are_refused(documents):
    step = documents.recipes.Step(run="quarterturn doctor $CATS")
    with pytest.raises(KeyError, match="CATS"):
        documents.recipes.Recipe(cost="1 s", steps=[step]).data()
    with pytest.raises(documents.steps.StepError, match="found rm"):
        documents.steps.command_of(["rm", "-r", "photos"])
