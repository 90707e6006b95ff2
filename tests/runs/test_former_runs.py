"""Run directories that the first version's own code made; see former/README.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from quarterturn import probe
from quarterturn.comparing.compare import compare
from quarterturn.runs import Run
from quarterturn.runs.record_files import read_record
from quarterturn.runs.records import ProbeResult

FORMER = Path(__file__).parent / "former"


@pytest.fixture
def former(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FORMER / "pretrain", tmp_path / "former"))


@pytest.mark.parametrize("kind", ["pretrain", "finetune", "upright"])
def test_open(kind: str) -> None:
    run = Run.open(FORMER / kind)
    assert run.kind == kind
    assert (run.data, run.config.data.image_size) == ("digits", 8)
    assert run.config.model.backbone == "convnet"


def test_their_networks_load(former: Path) -> None:
    features = Run.open(former).load_network().backbone(torch.zeros(2, 3, 8, 8))
    assert features.shape == (2, 256)


def test_their_probes_compare_with_new_ones(former: Path, tmp_path: Path) -> None:
    """The same network, once with the probe that came with it and once probed anew."""
    anew = Path(shutil.copytree(former, tmp_path / "anew"))
    shutil.rmtree(anew / "probes")
    config = json.loads((anew / "config.json").read_text())
    config["config"]["run"]["seed"] = 1  # or both would be one run
    (anew / "config.json").write_text(json.dumps(config))
    made = probe(
        anew, "digits", limit=60, seeds=2, kind="knn", untrained=False, device="cpu", workers=0
    )
    (stored,) = (former / "probes").glob("*frozen*")
    result = read_record(stored, ProbeResult)
    assert made.protocol_id == result.protocol_id
    for score in made.scores:
        before = result.score(score.origin, score.part, score.classifier, score.view)
        assert score.measures["top1"].mean == pytest.approx(before.measures["top1"].mean, abs=0.02)
    compared = compare([former, anew], out=tmp_path / "x.json")
    (group, *_) = compared.groups
    assert len(group.runs) == 2
    knn = [s for s in compared.of(group.label, made.protocol_id) if s.classifier == "knn-20"]
    assert {score.measures["top1"].n for score in knn} == {2}


def test_a_new_probe_joins_the_scores_that_are_there(former: Path) -> None:
    (stored,) = (former / "probes").glob("*frozen*")
    before = read_record(stored, ProbeResult)
    probe(
        former, "digits", limit=60, seeds=2, kind="knn", layers=("conv1",), device="cpu", workers=0
    )
    after = read_record(stored, ProbeResult)
    assert after.scores[: len(before.scores)] == before.scores
    assert {score.part for score in after.scores[len(before.scores) :]} == {"conv1"}
