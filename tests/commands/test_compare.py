from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from quarterturn import ConfigError, pretrain, probe
from quarterturn.cli import main
from quarterturn.commands.compare import compare
from quarterturn.evaluation.comparison import ProbedRun, group_runs
from quarterturn.runs import Run

SETTINGS = {"epochs": 1, "limit": 60, "num_noise": 8, "batch_size": 20, "log_every": 1}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Two seeds of one method and one of another, probed alike; the last also otherwise."""
    folder = tmp_path_factory.mktemp("compare")
    wanted = {"a0": ("decoupling", 0), "a1": ("decoupling", 1), "r0": ("rotnet", 0)}
    made = {
        name: pretrain("digits", out=folder / name, quiet=True, method=m, seed=seed, **SETTINGS)
        for name, (m, seed) in wanted.items()
    }
    for run in made.values():
        probe(run.path, "digits", kind="knn", limit=80, seeds=2, quiet=True)
    probe(made["r0"].path, "digits", kind="knn", limit=50, seeds=1, quiet=True)
    return made


def paths(runs: dict[str, Run], *names: str) -> list[Path]:
    return [runs[name].path for name in names]


def top1(run: Run, name: str) -> float:
    """A figure as the probe of 80 images has written it."""
    for file in (run.path / "probes").glob("*.json"):
        result = json.loads(file.read_text())
        if result["protocol"]["training_images"] == 80:
            return result["figures"][name]["top1"]["mean"]
    raise AssertionError


def test_seeds_are_grouped(runs: dict[str, Run], tmp_path: Path, capsys) -> None:
    out = tmp_path / "x.json"
    result = compare(paths(runs, "a0", "r0", "a1"), out=out)
    assert [(g["label"], g["origin"], len(g["runs"])) for g in result["groups"]] == [
        ("decoupling convnet", "trained", 2),
        ("rotnet convnet", "trained", 1),
        ("untrained convnet, 16 px", "untrained", 3),
    ]
    [protocol] = result["protocols"]
    figures = result["figures"][protocol]
    found = figures["decoupling convnet"]["top1"]["invariant/knn-20/turned"]
    values = [top1(runs[r], "trained/invariant/knn-20/turned") for r in ("a0", "a1")]
    assert found["n"] == 2
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["spread"] == pytest.approx(np.std(values, ddof=1))
    alone = figures["rotnet convnet"]["top1"]["whole/knn-20/upright"]
    assert (alone["n"], alone["spread"]) == (1, None)
    # Both methods bring the untrained backbone of seed 0, which counts once.
    untrained = figures["untrained convnet, 16 px"]["top1"]
    assert untrained["both/knn-20/upright"]["n"] == 2
    assert untrained["whole/knn-20/upright"]["n"] == 1
    assert json.loads(out.read_text())["protocols"] == result["protocols"]
    printed = capsys.readouterr().out
    mean, spread = 100 * found["mean"], 100 * found["spread"]
    assert f"{mean:.1f} ± {spread:.1f}" in printed
    assert "80 upright training images" in " ".join(printed.split())


def test_other_measures(runs: dict[str, Run], tmp_path: Path, capsys) -> None:
    result = compare(paths(runs, "a0"), measure="worst_class", out=tmp_path / "x.json")
    [figures] = result["figures"].values()
    found = figures["decoupling convnet"]
    assert (
        found["worst_class"]["both/knn-20/upright"]["mean"]
        <= (found["balanced"]["both/knn-20/upright"]["mean"])
    )
    assert "accuracy of the worst class" in capsys.readouterr().out


def test_protocols_are_not_mixed(runs: dict[str, Run], tmp_path: Path, capsys) -> None:
    """What not all have is left out, saying so; --mixed gives it a table of its own."""
    one = compare(paths(runs, "a0", "r0"), out=tmp_path / "1.json")
    assert len(one["protocols"]) == 1
    assert "left out: probes by 1 other" in capsys.readouterr().err
    both = compare(paths(runs, "a0", "r0"), mixed=True, out=tmp_path / "2.json")
    assert {p["training_images"] for p in both["protocols"].values()} == {80, 50}
    for name, protocol in both["protocols"].items():
        of_decoupling = both["figures"][name]["decoupling convnet"]["top1"]
        assert bool(of_decoupling) == (protocol["training_images"] == 80)


def test_nothing_in_common_is_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    other = pretrain("digits", out=tmp_path / "o", quiet=True, seed=2, **SETTINGS)
    with pytest.raises(ConfigError, match=r"o has no probes of its weights: quarterturn probe"):
        compare([*paths(runs, "a0"), other.path], out=tmp_path / "x.json")
    probe(other.path, "digits", kind="knn", limit=30, seeds=1, quiet=True)
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
    try:
        probed = ProbedRun.open(run.path)
        assert "other" not in probed.probes
        assert probed.left_out == [f"{file}: about weights that the run has no longer"]
        file.write_text("{}")
        assert "another version" in ProbedRun.open(run.path).left_out[0]
    finally:
        file.unlink()


def test_a_run_counts_once(runs: dict[str, Run], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="named twice"):
        compare([*paths(runs, "a0"), runs["a0"].path / ".." / "a0"])
    again = pretrain("digits", out=tmp_path / "again", quiet=True, **SETTINGS)
    probe(again.path, "digits", kind="knn", limit=80, seeds=2, quiet=True)
    with pytest.raises(ConfigError, match="same settings and the same seed 0: they would count"):
        compare([*paths(runs, "a0"), again.path])


def test_labels_tell_what_differs(runs: dict[str, Run], tmp_path: Path) -> None:
    longer = pretrain("digits", out=tmp_path / "l", quiet=True, **{**SETTINGS, "temperature": 0.5})
    opened = [ProbedRun.open(p) for p in [*paths(runs, "a0", "r0"), longer.path]]
    assert [g.label for g in group_runs(opened) if g.origin == "trained"] == [
        "decoupling convnet, temperature 0.2",
        "rotnet convnet, temperature 0.2",
        "decoupling convnet, temperature 0.5",
    ]


def test_a_run_without_epochs_stands_for_the_untrained(
    runs: dict[str, Run], tmp_path: Path
) -> None:
    plain = pretrain("digits", out=tmp_path / "u", quiet=True, **{**SETTINGS, "epochs": 0})
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
