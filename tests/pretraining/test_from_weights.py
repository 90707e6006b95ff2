"""Pretraining that begins with weights: of a run, of a file, of timm."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import quarterturn.engine.loop as loop
import quarterturn.runs.life_cycle as life_cycle
from quarterturn import (
    CheckpointError,
    ConfigError,
    Embedder,
    embed,
    export,
    import_checkpoint,
    load_backbone,
    neighbors,
    pretrain,
    probe,
)
from quarterturn.cli import main
from quarterturn.comparing.compare import compare
from quarterturn.pages.report import write_report
from quarterturn.runs import Run
from quarterturn.weights.start import write_weights

from ..engine.equality import assert_same_checkpoint
from ..engine.processes import as_group, kill_at_step, quarterturn
from ..fixtures.runs import no_pages, write_run

pytestmark = pytest.mark.usefixtures("without_page")

SMALL = {"image_size": 16, "epochs": 1, "limit": 60, "batch_size": 30, "device": "cpu"}
TAUGHT = {**SMALL, "method": "distill", "diagnostics": False}
SIDE = 32


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network of timm, in a file that is named after it."""
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    path = tmp_path_factory.mktemp("weights") / "test_resnet.r160_in1k.safetensors"
    torch.manual_seed(3)
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


@pytest.fixture(scope="module")
def adapted(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the method that a file of weights gets by default."""
    out = tmp_path_factory.mktemp("runs") / "adapted"
    settings = {**SMALL, "image_size": SIDE, "epochs": 2}
    with no_pages():
        return pretrain("digits", start=weights, out=out, **settings)


def backbone_of(run: Run | Path) -> dict[str, torch.Tensor]:
    opened = run if isinstance(run, Run) else Run.open(run)
    return opened.load_network().backbone.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_a_file_brings_backbone_view_and_recipe(adapted: Run, weights: Path) -> None:
    config = adapted.config
    assert (config.method.name, config.model.backbone) == ("distill", "timm:test_resnet")
    assert config.data.mean == (0.5, 0.5, 0.5)  # timm's of these weights
    assert (config.optimizer.warmup_steps, config.optimizer.weight_decay) == (20, 0.01)
    assert adapted.start == str(weights)
    assert adapted.origin is not None
    assert (adapted.origin.file, adapted.origin.licence) == (weights.name, None)
    kept = Run.open(adapted.kept_start)
    assert kept.config.method.name == "imported"
    from safetensors.torch import load_file

    theirs = load_file(weights)
    assert all(torch.equal(v, theirs[n.split("net.", 1)[1]]) for n, v in backbone_of(kept).items())
    assert not same(backbone_of(adapted), backbone_of(kept))
    terms = adapted.read_metrics("train")[-1]
    assert 0 < terms["teacher"] < 2
    assert adapted.load_network().heads == ("rotation_head",)


def test_a_run_without_epochs_holds_what_it_began_with(digits_run: Run, tmp_path: Path) -> None:
    run = pretrain("digits", start=digits_run.path, out=tmp_path / "run", **{**TAUGHT, "epochs": 0})
    assert same(backbone_of(run), backbone_of(digits_run))
    assert not run.untrained


@pytest.mark.parametrize("backbone", ["alexnet-folded", "alexnet-pool5"])
def test_pretraining_folds_no_batch_norm(backbone: str, tmp_path: Path) -> None:
    alexnet = write_run(tmp_path / "alexnet", backbone="alexnet", image_size=63, embedding_dim=8)
    settings = {"method": "decoupling", "backbone": backbone, "device": "cpu"}
    with pytest.raises(ConfigError, match=rf"alexnet .* and --backbone is {backbone}: leave"):
        pretrain("digits", start=alexnet.path, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("decoupling", "backbone, rotation head, embedding head"),
        ("rotnet", "backbone; drawn anew: rotation head"),
        ("distill", "backbone, rotation head; drawn anew: projection"),
    ],
)
def test_heads_come_along_where_they_fit(
    digits_run: Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    method: str,
    words: str,
) -> None:
    settings = {**TAUGHT, "method": method, "embedding_dim": 64, "epochs": 0}
    if method != "decoupling":
        del settings["embedding_dim"]
    with caplog.at_level(logging.INFO, "quarterturn"):
        run = pretrain("digits", start=digits_run.path, out=tmp_path / "run", **settings)
    (line,) = [m for m in caplog.messages if m.startswith("begins with")]
    assert line == f"begins with the weights of {digits_run.path.name}: {words}"
    ours, theirs = run.load_network().state_dict(), digits_run.load_network().state_dict()
    for head in ("rotation_head", "embedding_head"):
        if head.replace("_", " ") in words.partition(";")[0]:
            assert torch.equal(ours[f"{head}.weight"], theirs[f"{head}.weight"])


@pytest.mark.slow
def test_a_killed_run_resumes_after_its_start_is_gone(digits_run: Run, tmp_path: Path) -> None:
    """The teacher and the first weights are in the run: what it began with may be gone."""
    start = Path(shutil.copytree(digits_run.path, tmp_path / "start"))
    words = ["pretrain", "digits", "--from", start, "--method", "distill", "--image-size", 16]
    words += ["--epochs", 2, "--limit", 60, "--batch-size", 20, "--checkpoint-every", 2]
    words += ["--no-diagnostics", "--device", "cpu", "--log-every", 1]
    log, run = tmp_path / "log", tmp_path / "run"
    assert main([*map(str, words), "--out", str(tmp_path / "whole")]) == 0
    assert quarterturn(*words, "--out", run, log=log, sabotage=(kill_at_step, 0)) == -9
    shutil.rmtree(start)
    resume = ["pretrain", "--resume", run]
    assert quarterturn(*resume, log=log, sabotage=(kill_at_step, 5)) == -9
    assert main([*map(str, resume)]) == 0
    assert_same_checkpoint(run, tmp_path / "whole")


def train_and_tell(rank: int, folder: str, words: list[str]) -> None:
    """Run the command as one of several processes, and write down the weights it ends with."""
    plain_fit = loop.fit

    def fit(training: loop.Training) -> None:
        plain_fit(training)
        torch.save(dict(training.method.network.named_parameters()), f"{folder}/rank{rank}.pt")

    life_cycle.fit = fit
    assert main([*words, "--out", f"{folder}/run"]) == 0


def test_two_processes_train_as_one(
    digits_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["pretrain", "digits", "--from", str(digits_run.path), "--method", "distill"]
    words += ["--image-size", "16", "--epochs", "1", "--limit", "60", "--batch-size", "20"]
    words += ["--no-diagnostics", "--device", "cpu", "--frozen-statistics", "--optimizer", "sgd"]
    words += ["--learning-rate", "0.01", "--precision", "32-true", "--holdout", "0"]
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(life_cycle, "fit", life_cycle.fit)  # and put it back afterwards
    train_and_tell(0, str(tmp_path / "1"), words)
    as_group(2, train_and_tell, str(tmp_path / "2"), words)
    files = ("1/rank0.pt", "2/rank0.pt", "2/rank1.pt")
    ends = [torch.load(tmp_path / file, weights_only=True) for file in files]
    for name, alone in ends[0].items():
        assert torch.equal(ends[1][name], ends[2][name])
        torch.testing.assert_close(ends[1][name], alone, rtol=0, atol=1e-6)
    before = backbone_of(digits_run)
    moved = [ends[0][f"backbone.{n}"] - before[n] for n in before if n.endswith("weight")]
    assert max(change.abs().max() for change in moved) > 1e-4


def test_a_teacher_is_asked_for_in_words(digits_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--method distill learns from trained weights: give"):
        pretrain("digits", out=tmp_path / "run", **TAUGHT)
    with pytest.raises(
        ConfigError, match="--pretrained is for networks of timm, and --backbone is"
    ):
        pretrain("digits", out=tmp_path / "run", pretrained=True, **TAUGHT)
    with pytest.raises(ConfigError, match=r"give --from .* or --pretrained, not both"):
        pretrain("digits", start=digits_run.path, pretrained=True, out=tmp_path / "run", **TAUGHT)
    with pytest.raises(ConfigError, match="has a convnet for a backbone, and --backbone is nin"):
        pretrain("digits", start=digits_run.path, backbone="nin", out=tmp_path / "run", **TAUGHT)
    with pytest.raises(CheckpointError, match="there is no such run or file"):
        pretrain("digits", start=tmp_path / "nothing", out=tmp_path / "run", **TAUGHT)
    assert not (tmp_path / "run").exists()


def test_what_is_not_trained_keeps_the_bits_it_began_with(
    adapted: Run, weights: Path, tmp_path: Path
) -> None:
    settings = {**TAUGHT, "image_size": SIDE, "trained": "layer3", "layer_decay": 0.5}
    run = pretrain("digits", start=weights, out=tmp_path / "run", **settings)
    before, after = backbone_of(adapted.kept_start), backbone_of(run)
    changed = {name.split(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"layer3", "layer4"}


class TestTimmsCache:
    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An empty cache of the hub, and no way to it."""
        pytest.importorskip("timm")
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))

        def unreachable(*args: object, **rest: object) -> None:
            raise OSError("there is no network here")

        monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
        return tmp_path / "hub"

    @pytest.fixture
    def settings(self, tmp_path: Path) -> dict[str, Any]:
        out = {"out": tmp_path / "run", "backbone": "timm:test_resnet", "pretrained": True}
        return {**TAUGHT, "image_size": SIDE, "epochs": 0, **out}

    def test_weights_are_taken_from_it(
        self, cache: Path, settings: dict[str, Any], weights: Path, adapted: Run
    ) -> None:
        repository = cache / "models--timm--test_resnet.r160_in1k"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0123abc")
        (repository / "snapshots" / "0123abc").mkdir(parents=True)
        shutil.copy(weights, repository / "snapshots" / "0123abc" / "model.safetensors")
        run = pretrain("digits", **settings)
        assert run.start == "timm:test_resnet"
        assert run.origin is not None
        assert run.origin.licence == "apache-2.0"
        assert run.origin.source == "timm/test_resnet.r160_in1k"
        assert same(backbone_of(run), backbone_of(adapted.kept_start))
        loaded = load_backbone("timm:test_resnet").network.backbone.state_dict()
        assert same(loaded, backbone_of(run))

    def test_nothing_is_fetched_unasked(self, cache: Path, settings: dict[str, Any]) -> None:
        message = r"timm:test_resnet \(timm/test_resnet.r160_in1k\) are not in timm's cache: give"
        with pytest.raises(ConfigError, match=message):
            pretrain("digits", **settings)
        advice = "quarterturn import FILE --backbone timm:test_resnet --out RUN"
        with pytest.raises(ConfigError, match=advice):
            Embedder("timm:test_resnet").fit()
        with pytest.raises(ConfigError, match="could not be fetched: there is no network here"):
            pretrain("digits", download=True, **settings)
        with pytest.raises(ConfigError, match="could not be fetched: there is no network here"):
            load_backbone("timm:test_resnet", download=True)
        with pytest.raises(ConfigError, match="could not be fetched: there is no network here"):
            Embedder("timm:test_resnet", download=True).fit()
        with pytest.raises(ConfigError, match="timm has no network 'nothing'"):
            pretrain("digits", **{**settings, "backbone": "timm:nothing"})
        assert not settings["out"].exists()


def test_the_licence_travels(weights: Path, tmp_path: Path) -> None:
    imported = import_checkpoint(
        weights, out=tmp_path / "imported", backbone="timm:test_resnet", licence="Apache-2.0"
    )
    settings = {**TAUGHT, "image_size": SIDE, "epochs": 0}
    first = pretrain("digits", start=imported.path, out=tmp_path / "first", **settings)
    second = pretrain("digits", start=first.path, out=tmp_path / "second", **settings)
    assert first.origin == second.origin == imported.imported
    export(second.path, format="safetensors", out=tmp_path / "x.safetensors")
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "| licence | Apache-2.0 |" in card
    assert f"| began with | {weights.name} (timm's test_resnet; sha256" in card
    again = import_checkpoint(tmp_path / "x.safetensors", out=tmp_path / "again")
    assert again.origin == imported.imported
    stored = json.loads((again.path / "config.json").read_text())
    assert stored["origin"]["licence"] == "Apache-2.0"


def test_a_licence_told_later_travels_too(weights: Path, tmp_path: Path) -> None:
    """Of a file whose origin states none: by import, or else by export."""
    first = import_checkpoint(weights, out=tmp_path / "first", backbone="timm:test_resnet")
    for name, licence in [("bare", None), ("licensed", "MIT")]:
        (tmp_path / name).mkdir()
        out = tmp_path / name / "x.safetensors"
        export(first.path, format="safetensors", out=out, licence=licence)
    told = {
        "by export": import_checkpoint(tmp_path / "licensed" / "x.safetensors", out=tmp_path / "a"),
        "by import": import_checkpoint(
            tmp_path / "bare" / "x.safetensors", out=tmp_path / "b", licence="MIT"
        ),
        "by both": import_checkpoint(
            tmp_path / "licensed" / "x.safetensors", out=tmp_path / "c", licence="MIT, I asked"
        ),
    }
    licences = {}
    for how, run in told.items():
        assert run.provenance is not None
        assert run.provenance.file == weights.name
        licences[how] = run.provenance.licence
    assert licences == {"by export": "MIT", "by import": "MIT", "by both": "MIT, I asked"}
    export(told["by import"].path, format="safetensors", out=tmp_path / "y.safetensors")
    assert "| licence | MIT |" in (tmp_path / "MODEL_CARD.md").read_text()
    settings = {**TAUGHT, "image_size": SIDE, "epochs": 0}
    later = pretrain("digits", start=tmp_path / "y.safetensors", out=tmp_path / "later", **settings)
    assert later.origin is not None
    assert (later.origin.file, later.origin.licence) == (weights.name, "MIT")


def test_a_licence_of_ones_own_run_travels(digits_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    export(digits_run.path, format="safetensors", out=out, licence="MIT")
    run = pretrain("digits", start=out, out=tmp_path / "run", **{**TAUGHT, "epochs": 0})
    assert run.origin is not None
    assert run.origin.licence == "MIT"


def test_probes_show_the_start_beside_the_end(adapted: Run, tmp_path: Path) -> None:
    result = probe(adapted.path, "digits", limit=60, kind="knn", seeds=1, device="cpu")
    assert {(s.origin, s.part) for s in result.scores} == {
        ("trained", "rotation"),
        ("trained", "invariant"),
        ("trained", "both"),
        ("start", "whole"),
    }
    assert "pretrained, not adapted: whole" in write_report(adapted).read_text()
    # The start's figures are those of the same weights, probed by themselves at this size.
    start = adapted.at(tmp_path / "start")
    write_weights(
        replace(start, config=adapted.config.with_settings(method="imported"), kind="import"),
        Run.open(adapted.kept_start).load_network(),
        0,
    )
    alone = probe(start.path, "digits", limit=60, kind="knn", seeds=1, device="cpu")
    for view in ("upright", "turned"):
        one = result.score("start", "whole", "knn-20", view)
        assert one.measures == alone.score("trained", "whole", "knn-20", view).measures
    compared = compare([adapted.path], out=tmp_path / "x.json")
    assert [group.origin for group in compared.groups] == ["trained"]


def test_weights_stand_for_a_run(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is imported once, for all commands that need no more than a backbone."""
    monkeypatch.chdir(tmp_path)
    options = {"device": "cpu", "workers": 0}
    out = embed(weights, photos, out=tmp_path / "x.npz", **options)
    assert np.load(out)["embeddings"].shape == (60, 96)
    found = neighbors(str(weights), "blue/00.png", data=photos, k=3, **options)
    probe(weights, photos, kind="knn", seeds=1, untrained=False, **options)
    (run,) = (tmp_path / "runs").iterdir()
    assert found["run"] == str(Path("runs") / run.name)
    assert run.name == "test_resnet.r160_in1k-1"
    assert list((run / "probes").glob("*.json"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    shutil.rmtree(run)
    with pytest.raises(ConfigError, match=r"quarterturn import .* --out RUN, and give that"):
        embed(weights, photos, out=tmp_path / "y.npz", **options)
