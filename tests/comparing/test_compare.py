from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from quarterturn import CheckpointError, ConfigError, finetune, pretrain, probe
from quarterturn.cli import main
from quarterturn.comparing.compare import compare
from quarterturn.comparing.groups import group_runs
from quarterturn.comparing.probed_runs import ProbedRun
from quarterturn.data.sources import open_source
from quarterturn.files import write_json
from quarterturn.pages.probe_tables import probe_table
from quarterturn.runs import Run
from quarterturn.runs.comparison_records import Comparison, GroupStatistic
from quarterturn.runs.record_files import read_record
from quarterturn.runs.records import ProbeResult
from tests.fixtures.runs import no_pages
from tests.pages.elements import Elements

pytestmark = pytest.mark.usefixtures("without_page")

SETTINGS = {
    "epochs": 1,
    "limit": 60,
    "batch_size": 20,
    "log_every": 1,
    "precision": "32-true",  # whatever this machine is quick in
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Two seeds of one method and one of another, probed alike; the last also otherwise."""
    folder = tmp_path_factory.mktemp("compare")
    wanted = {"a0": ("decoupling", 0), "a1": ("decoupling", 1), "r0": ("rotnet", 0)}
    with no_pages():
        made = {
            name: pretrain("digits", out=folder / name, method=m, seed=seed, **SETTINGS)
            for name, (m, seed) in wanted.items()
        }
        for run in made.values():
            probe(run.path, "digits", kind="knn", limit=80, seeds=2)
        probe(made["r0"].path, "digits", kind="knn", limit=50, seeds=1)
    return made


def paths(runs: dict[str, Run], *names: str) -> list[Path]:
    return [runs[name].path for name in names]


def result_of(run: Run) -> ProbeResult:
    """What the probe of 80 images has written."""
    results = [read_record(file, ProbeResult) for file in (run.path / "probes").glob("*.json")]
    return next(r for r in results if r.protocol["training_images"] == 80)


def measured(
    result: Comparison, group: str, *name: str, measure: str = "top1", protocol: str = ""
) -> GroupStatistic:
    """One figure of a group by part, classifier and view."""
    scores = result.of(group, protocol or next(iter(result.protocols)))
    found = [s for s in scores if (s.part, s.classifier, s.view) == name]
    assert len(found) == 1
    return found[0].measures[measure]


def test_seeds_are_grouped(runs: dict[str, Run], tmp_path: Path, terminal) -> None:
    out = tmp_path / "x.json"
    result = compare(paths(runs, "a0", "r0", "a1"), out=out)
    assert [(g.label, g.origin, len(g.runs)) for g in result.groups] == [
        ("decoupling convnet", "trained", 2),
        ("rotnet convnet", "trained", 1),
        ("untrained convnet, 16 px", "untrained", 3),
    ]
    [protocol] = result.protocols
    found = measured(result, "decoupling convnet", "invariant", "knn-20", "turned")
    probed = [result_of(runs[name]) for name in ("a0", "a1")]
    scores = [one.score("trained", "invariant", "knn-20", "turned") for one in probed]
    values = [score.measures["top1"].mean for score in scores]
    assert found.n == 2
    assert found.mean == pytest.approx(np.mean(values))
    assert found.spread == pytest.approx(np.std(values, ddof=1))
    alone = measured(result, "rotnet convnet", "whole", "knn-20", "upright")
    assert (alone.n, alone.spread) == (1, None)
    # Both methods bring the untrained backbone of seed 0, which counts once.
    untrained = "untrained convnet, 16 px"
    assert measured(result, untrained, "both", "knn-20", "upright").n == 2
    assert measured(result, untrained, "whole", "knn-20", "upright").n == 1
    assert read_record(out, Comparison) == result
    printed = terminal.readouterr().out
    mean, spread = 100 * found.mean, 100 * found.spread
    assert f"{mean:.1f} ± {spread:.1f}" in printed
    said = " ".join(printed.split())
    assert "80 upright training images" in said
    assert f"Probes by protocol frozen-features {protocol}: top-1 accuracy" in said


def test_other_measures(runs: dict[str, Run], tmp_path: Path, terminal) -> None:
    result = compare(paths(runs, "a0"), measure="worst_class", out=tmp_path / "x.json")
    worst, balanced = (
        measured(result, "decoupling convnet", "both", "knn-20", "upright", measure=measure).mean
        for measure in ("worst_class", "balanced")
    )
    assert worst <= balanced
    assert "accuracy of the worst class" in terminal.readouterr().out


def test_protocols_are_not_mixed(runs: dict[str, Run], tmp_path: Path, terminal) -> None:
    """What not all have is left out, saying so; --mixed gives it a table of its own."""
    one = compare(paths(runs, "a0", "r0"), out=tmp_path / "1.json")
    assert len(one.protocols) == 1
    assert "left out: probes by 1 other" in terminal.readouterr().err
    both = compare(paths(runs, "a0", "r0"), mixed=True, out=tmp_path / "2.json")
    assert {p["training_images"] for p in both.protocols.values()} == {80, 50}
    for name, protocol in both.protocols.items():
        of_decoupling = both.of("decoupling convnet", name)
        assert bool(of_decoupling) == (protocol["training_images"] == 80)


def test_nothing_in_common_is_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    other = pretrain("digits", out=tmp_path / "o", seed=2, **SETTINGS)
    with pytest.raises(ConfigError, match=r"o has no probes of its weights: quarterturn probe"):
        compare([*paths(runs, "a0"), other.path], out=tmp_path / "x.json")
    probe(other.path, "digits", kind="knn", limit=30, seeds=1)
    with pytest.raises(ConfigError, match="do not compare") as caught:
        compare([*paths(runs, "a0"), other.path], out=tmp_path / "x.json")
    assert "a0: training_fingerprint" in str(caught.value)
    assert "training_images 80" in str(caught.value)
    assert "training_images 30" in str(caught.value)
    assert not (tmp_path / "x.json").exists()


def test_probes_of_other_weights_are_left_out(runs: dict[str, Run], tmp_path: Path) -> None:
    run = runs["a0"]
    stale = json.loads(next((run.path / "probes").glob("*.json")).read_text())
    file = run.path / "probes" / "stale.json"
    file.write_text(json.dumps({**stale, "weights": "0" * 16, "protocol_id": "other"}))
    nameless = {**stale, "protocol": {k: v for k, v in stale["protocol"].items() if k != "name"}}
    try:
        probed = ProbedRun.open(run.path)
        assert "other" not in probed.probes
        assert probed.left_out == [f"{file}: about weights that the run no longer has"]
        for older in ({}, [], {"protocol": None}, nameless):
            file.write_text(json.dumps(older))
            assert ProbedRun.open(run.path).left_out == [
                f"{file}: written by another version; probe the run again"
            ]
        file.write_text("{")
        with pytest.raises(CheckpointError, match=r"stale\.json is damaged"):
            ProbedRun.open(run.path)
    finally:
        file.unlink()


def test_a_run_counts_once(runs: dict[str, Run], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="named twice"):
        compare([*paths(runs, "a0"), runs["a0"].path / ".." / "a0"])
    again = pretrain("digits", out=tmp_path / "again", **SETTINGS)
    probe(again.path, "digits", kind="knn", limit=80, seeds=2)
    with pytest.raises(ConfigError, match="same settings and the same seed 0: they would count"):
        compare([*paths(runs, "a0"), again.path])


def test_labels_tell_what_differs(runs: dict[str, Run], tmp_path: Path) -> None:
    longer = pretrain("digits", out=tmp_path / "l", **{**SETTINGS, "temperature": 18 / 49})
    opened = [ProbedRun.open(p) for p in [*paths(runs, "a0", "r0"), longer.path]]
    assert [g.label for g in group_runs(opened) if g.origin == "trained"] == [
        "decoupling convnet, temperature 0.2",
        "rotnet convnet",
        "decoupling convnet, temperature 0.3673",
    ]


def test_a_run_without_epochs_stands_for_the_untrained(
    runs: dict[str, Run], tmp_path: Path
) -> None:
    plain = pretrain("digits", out=tmp_path / "u", **{**SETTINGS, "epochs": 0})
    opened = [ProbedRun.open(p) for p in [*paths(runs, "a0"), plain.path]]
    assert [(g.label, g.origin) for g in group_runs(opened)] == [
        ("decoupling convnet, epochs 1", "trained"),
        ("untrained convnet", "trained"),
    ]


def test_the_command_line(runs: dict[str, Run], tmp_path: Path, capsys) -> None:
    words = ["compare", *map(str, paths(runs, "a0", "a1"))]
    assert main([*words, "--out", str(tmp_path / "x.json")]) == 0
    assert "decoupling convnet" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "x.json")]) == 2
    assert "exists; choose another --out" in capsys.readouterr().err
    assert main(["compare", str(tmp_path)]) == 2
    assert "no run directory" in capsys.readouterr().err
    # By default beside the first run, under the first free number.
    assert main(words) == 0
    assert (runs["a0"].path.parent / "comparison-1.json").exists()


def test_figures_of_other_labels_are_another_protocol(runs: dict[str, Run], tmp_path: Path) -> None:
    """The same pictures, sorted into two classes instead of ten."""
    source = open_source("digits")
    arrays = {}
    for split, images in source.splits.items():
        arrays |= {f"{split}_images": images.pixels, f"{split}_labels": images.labels}
    np.savez(tmp_path / "ten.npz", **arrays)
    coarse = {name: a // 5 if name.endswith("labels") else a for name, a in arrays.items()}
    np.savez(tmp_path / "two.npz", **coarse)
    options = {"kind": "knn", "limit": 40, "seeds": 1}
    ten, two = (
        probe(runs[run].path, tmp_path / f"{name}.npz", **options)
        for run, name in [("a0", "ten"), ("a1", "two")]
    )
    differing = {k for k in ten.protocol if ten.protocol[k] != two.protocol[k]}
    assert differing == {"labels_fingerprint"}
    assert ten.protocol_id != two.protocol_id


def test_an_unfinished_run_is_not_compared(runs: dict[str, Run], tmp_path: Path) -> None:
    run = pretrain("digits", out=tmp_path / "run", **{**SETTINGS, "epochs": 2, "seed": 5})
    state = torch.load(run.checkpoint, weights_only=True)
    assert state["epochs_done"] == 2.0
    torch.save({**state, "epochs_done": 0.5}, run.checkpoint)
    result = probe(run.path, "digits", kind="knn", limit=80, seeds=2)
    assert (result.epochs_done, result.epochs) == (0.5, 2)
    assert "trained for 0.5 of 2 epochs so far" in probe_table(result).note
    with pytest.raises(ConfigError, match=r"has done 0\.5 of its 2 epochs; finish it"):
        compare([*paths(runs, "a0"), run.path])


def test_other_precision_is_not_another_seed(runs: dict[str, Run], tmp_path: Path) -> None:
    copied = tmp_path / "a1"
    shutil.copytree(runs["a1"].path, copied)
    environment = json.loads((copied / "environment.json").read_text())
    write_json(copied / "environment.json", {**environment, "precision": "bf16-mixed"})
    opened = [ProbedRun.open(p) for p in [*paths(runs, "a0"), copied]]
    assert [g.label for g in group_runs(opened) if g.origin == "trained"] == [
        "decoupling convnet, precision 32-true",
        "decoupling convnet, precision bf16-mixed",
    ]


def test_two_results_of_one_protocol_are_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    copied = tmp_path / "a0"
    shutil.copytree(runs["a0"].path, copied)
    file = next((copied / "probes").glob("*.json"))
    shutil.copy(file, file.with_name("copy.json"))
    with pytest.raises(ConfigError, match="two results of protocol"):
        ProbedRun.open(copied)


def test_reports_unequal_numbers_of_runs(runs: dict[str, Run], tmp_path: Path, terminal) -> None:
    """One of two seeds was probed by a linear classifier as well."""
    copied = [tmp_path / name for name in ("a0", "a1")]
    for path in copied:
        shutil.copytree(runs[path.name].path, path)
    probe(copied[0], "digits", kind="linear", limit=80, seeds=2)
    result = compare(copied, out=tmp_path / "x.json")
    assert measured(result, "decoupling convnet", "both", "linear", "upright").n == 1
    assert measured(result, "decoupling convnet", "both", "knn-20", "upright").n == 2
    assert "1 to 2" in terminal.readouterr().out


def test_a_page_has_tables_and_curves_and_no_paths(runs: dict[str, Run], tmp_path: Path) -> None:
    out = tmp_path / "x.html"
    result = compare(paths(runs, "a0", "a1", "r0"), out=out)
    assert read_record(tmp_path / "x.json", Comparison) == result
    text = out.read_text()
    page = Elements(text)
    assert [image["alt"].startswith("Curves of 3 runs in 2 groups") for image in page.all("img")]
    assert {"decoupling convnet", "rotnet convnet", "untrained convnet, 16 px"} <= set(page.cells)
    assert "Trainings" in text
    assert str(runs["a0"].path.parent) not in text
    assert "<script" not in text
    with pytest.raises(ConfigError, match="exists"):
        compare(paths(runs, "a0"), out=out)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of LDAM and one of cross-entropy, on the same digits."""
    folder = tmp_path_factory.mktemp("classifiers")
    settings = {"epochs": 1, "limit": 80, "batch_size": 20, "device": "cpu"}
    with no_pages():
        made = finetune("digits", out=folder / "ldam", loss="ldam", seeds=2, **settings)
        made += finetune("digits", out=folder / "plain", **settings)
    return [run.path for run in made]


def test_classifiers_are_compared_by_their_tests(
    classifiers: list[Path], tmp_path: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    result = compare(classifiers, out=tmp_path / "x.json")
    assert [(g.label, len(g.runs)) for g in result.groups] == [
        ("classifier convnet, loss ldam", 2),
        ("classifier convnet, loss cross-entropy", 1),
    ]
    [protocol] = result.protocols.values()
    assert (protocol["name"], protocol["test_images"]) == ("classifier", 80)
    figures = [json.loads((path / "results.json").read_text())["figures"] for path in classifiers]
    name = ("logits", "classifier", "upright")
    for measure in ("top1", "balanced", "std_over_classes"):
        values = [of_run[measure] for of_run in figures]
        ldam, plain = (measured(result, g.label, *name, measure=measure) for g in result.groups)
        assert ldam.mean == pytest.approx(np.mean(values[:2]))
        assert ldam.spread == pytest.approx(np.std(values[:2], ddof=1))
        assert plain.mean == pytest.approx(values[2])
    shown = " ".join(terminal.readouterr().out.split())
    assert "80 test images: the split 'test'; each run by its last epoch" in shown


def test_classifiers_of_other_test_images_are_not_compared(
    classifiers: list[Path], tmp_path: Path
) -> None:
    (other,) = finetune(
        "digits", out=tmp_path / "run", epochs=1, limit=60, batch_size=20, device="cpu"
    )
    with pytest.raises(ConfigError, match="test_images 80"):
        compare([classifiers[0], other.path], out=tmp_path / "x.json")


def test_an_unfinished_classifier_names_the_command_to_finish(
    classifiers: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(classifiers[0], tmp_path / "run")
    run = Run.open(tmp_path / "run")
    state = torch.load(run.checkpoint, weights_only=True)
    torch.save({**state, "epochs_done": 0.5}, run.checkpoint)
    with pytest.raises(ConfigError, match="quarterturn finetune --resume"):
        compare([run.path], out=tmp_path / "x.json")


def test_a_file_that_cannot_be_written_is_refused_first(runs: dict[str, Run], tmp_path: Path):
    for out, words in [
        ("x.txt", r"must end in \.json or \.html"),
        ("no/x.json", "there is no directory"),
    ]:
        with pytest.raises(ConfigError, match=words):
            compare(paths(runs, "a0"), out=tmp_path / out)


@pytest.mark.parametrize(("format", "suffix"), [("html", "html"), ("latex", "tex"), ("csv", "csv")])
def test_formats_hold_the_same_figures(
    runs: dict[str, Run], tmp_path: Path, format: str, suffix: str
) -> None:
    names = [name for name in runs if name != "untrained"][:2]
    out = tmp_path / f"compared.{suffix}"
    result = compare(paths(runs, *names), format=format, out=out, mixed=True)
    assert (tmp_path / "compared.json").is_file()
    text = out.read_text("utf-8")
    score = result.scores[0]
    ((seed, value), *_) = score.measures["top1"].by_seed.items()
    if format == "csv":
        rows = list(csv.DictReader(text.splitlines()))
        scores = sum(len(m.by_seed) for s in result.scores for m in s.measures.values())
        differences = [row for row in rows[scores:] if row["against"] == result.groups[0].label]
        assert len(rows) == scores + len(differences) == scores + len(result.differences)
        for row, difference in zip(differences, result.differences, strict=True):
            assert float(row["value"]) == difference.mean
            assert (row["low"], int(row["n"])) == (
                "" if difference.low is None else str(difference.low),
                len(difference.by_seed),
            )
        assert (rows[0]["runs"], rows[0]["classifier"]) == (score.group, score.classifier)
        assert (int(rows[0]["seed"]), float(rows[0]["value"])) == (seed, value)
    else:
        assert f"{100 * score.measures['top1'].mean:.1f}" in text
        assert "Trainings" in text


def test_a_format_and_another_ending_are_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ending in \.tex with --format latex"):
        compare(paths(runs, next(iter(runs))), format="latex", out=tmp_path / "x.html")
