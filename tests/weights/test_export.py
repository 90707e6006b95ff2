from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from quarterturn import (
    CheckpointError,
    ConfigError,
    DataError,
    export,
    import_checkpoint,
    load_backbone,
    probe,
)
from quarterturn.cli import main
from quarterturn.methods.base import HEADS
from quarterturn.runs import Run
from quarterturn.weights.formats import FORMATS
from tests.fixtures.runs import MakeRun


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    """A decoupled convnet on digits."""
    return make_run()


def lines_of(card: Path) -> str:
    return card.read_text(encoding="utf-8").split("```python\n")[1].split("\n```")[0]


def test_run_to_safetensors_to_run_has_the_same_figures(digits_run: Run, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"limit": 200, "seeds": 1, "untrained": False}
    before = probe(digits_run.path, "digits", **settings)
    out = tmp_path / "digits.safetensors"
    export(digits_run.path, format="safetensors", out=out)
    run = import_checkpoint(out, out=tmp_path / "run")
    assert run.fingerprint == digits_run.fingerprint
    after = probe(run.path, "digits", **settings)
    assert after.scores == before.scores
    assert after.weights == before.weights
    assert after.epochs_done == before.epochs_done == 2
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    top1 = before.score("trained", "invariant", "knn-20").measures["top1"].mean
    assert f"| trained: invariant | {100 * top1:.1f}" in card
    assert f"| fingerprint of the images | {digits_run.fingerprint} |" in card


def test_files_figures_and_card(run: Run) -> None:
    result = export(run.path, format="safetensors", licence="MIT")
    folder = run.path / "exports" / "safetensors"
    assert sorted(os.listdir(folder)) == ["MODEL_CARD.md", "convnet.safetensors"]
    assert json.loads((run.path / "exports" / "safetensors.json").read_text()) == json.loads(
        json.dumps(result)
    )
    assert result["files"] == ("convnet.safetensors",)
    usual = (run.path / "config.json").stat().st_mode
    assert (folder / "convnet.safetensors").stat().st_mode == usual  # not for its owner alone
    assert all(d["relative"] == 0 for d in result["differences"])
    assert "| licence | MIT |" in (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("format", "settings"),
    [
        ("safetensors", {}),
        ("torchvision", {"backbone": "resnet18", "image_size": 96}),
        ("timm", {"backbone": "timm:resnet10t", "image_size": 32}),
        ("onnx", {"method": "rotnet"}),
        ("caffe", {"backbone": "alexnet", "image_size": 63, "embedding_dim": 8}),
    ],
)
def test_the_cards_three_lines_run(
    make_run: MakeRun, format: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(**settings)
    export(run.path, format=format)
    folder = run.path / "exports" / format
    monkeypatch.chdir(folder)
    Image.new("RGB", (20, 30), "red").save("photo.jpg")
    lines = lines_of(folder / "MODEL_CARD.md")
    assert len(lines.splitlines()) == 3
    images = torch.randn(1, 3, *[run.config.data.image_size] * 2)
    fed = images.numpy() if format in ("onnx", "caffe") else images
    names: dict[str, Any] = {"images": fed}
    network = run.load_network()
    with torch.no_grad():
        exec(lines, names)
        features = network.backbone(images)
        match format:
            case "safetensors":
                found = names["backbone"](images)
                assert names["features"].shape == (1, 256)
            case "torchvision":
                found, features = names["network"](images), network.rotation_logits(features)
            case "onnx":
                found = names["outputs"][0]
            case _:
                found = names["features"]
    np.testing.assert_allclose(found, features, rtol=1e-3, atol=1e-5)


def test_what_its_consumer_computes_otherwise_is_not_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = FORMATS["safetensors"]

    def damaged(*arguments: Any, **keywords: Any) -> Any:
        result = written.write(*arguments, **keywords)
        wrong = [type(d)(d.output, 1.0, 2e-4) for d in result.differences]
        return type(result)(result.files, result.consumer, tuple(wrong), result.loading)

    monkeypatch.setitem(FORMATS, "safetensors", replace(written, write=damaged))
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "x.safetensors"
    with pytest.raises(CheckpointError, match="computes other values from the exported files"):
        export(run.path, format="safetensors", out=out)
    assert os.listdir(tmp_path / "out") == []
    assert not (run.path / "exports" / "safetensors.json").exists()
    export(run.path, format="safetensors", out=out, tolerance=1e-3)
    assert sorted(os.listdir(tmp_path / "out")) == ["MODEL_CARD.md", "x.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"format": "keras"}, "--format is keras; expected safetensors, torchvision"),
        ({"format": "onnx", "out": "x.pth"}, r"must end in \.onnx"),
        ({"format": "onnx", "out": "nowhere/x.onnx"}, "there is no directory nowhere"),
        ({"format": "timm", "layers": ["fc"]}, "--layers is for --format onnx, not timm"),
        ({"format": "onnx", "num_classes": 3}, "for --format torchvision and timm, not onnx"),
        ({"format": "timm", "num_classes": 0}, "--num-classes is 0; expected from 1 to 1,000,000"),
        ({"format": "onnx", "input": "rgb"}, "--input is for --format caffe, not onnx"),
        ({"format": "onnx", "rescale": "balanced"}, "--rescale is for --format caffe"),
        ({"format": "caffe", "input": "grey"}, "--input is grey; expected rgb or bgr255"),
        ({"format": "caffe", "sample": "digits"}, "--sample is for --rescale"),
        ({"format": "caffe"}, "--format caffe takes only alexnet, and this is convnet"),
        ({"format": "torchvision"}, "torchvision has no network like this convnet"),
    ],
)
def test_what_is_refused(run: Run, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        export(run.path, **arguments)
    assert not (run.path / "exports").exists()


def test_existing_files(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    export(run.path, format="safetensors", out=out)
    with pytest.raises(ConfigError, match=r"x\.safetensors exists"):
        export(run.path, format="safetensors", out=out)
    with pytest.raises(ConfigError, match=r"MODEL_CARD\.md exists"):
        export(run.path, format="onnx", out=tmp_path / "x.onnx")
    export(run.path, format="safetensors", out=out, overwrite=True)
    (tmp_path / "MODEL_CARD.md").write_text("# Mine\n")
    with pytest.raises(ConfigError, match="is not a model card written by export"):
        export(run.path, format="safetensors", out=out, overwrite=True)
    assert (tmp_path / "MODEL_CARD.md").read_text() == "# Mine\n"


def test_the_scales_are_balanced_on_the_runs_images_or_others(
    make_run: MakeRun, photos: Path
) -> None:
    run = make_run(backbone="alexnet", image_size=63, embedding_dim=8)
    factors = []
    for sample in (None, photos):
        result = export(run.path, format="caffe", rescale="balanced", sample=sample, overwrite=True)
        factors.append(result["notes"][-1])
        assert "scales are balanced" in factors[-1]
        assert max(d["relative"] for d in result["differences"]) < 1e-5
    assert factors[0] != factors[1]
    result = export(run.path, format="caffe", rescale="unit", sample=photos, overwrite=True)
    assert result["notes"][-1] != factors[1]
    assert max(d["relative"] for d in result["differences"]) < 1e-5
    assert result["notes"][-1].split("fc7")[0] == factors[1].split("fc7")[0]  # only the last one
    with pytest.raises(DataError, match="no data at 'nowhere'"):
        export(run.path, format="caffe", rescale="balanced", sample="nowhere", overwrite=True)


def test_the_command(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run.path), "--format", "safetensors"]) == 0
    said = capsys.readouterr()
    assert "Differences from quarterturn" in said.out
    assert "rotation_head" in said.out
    assert "load_backbone" in said.err
    assert f"next: quarterturn export {run.path} --format onnx" in " ".join(said.err.split())
    file = run.path / "exports" / "safetensors" / "convnet.safetensors"
    assert load_backbone(file).layers == ("conv1", "conv2", "conv3", "fc")
    words = ["export", str(run.path), "--format", "onnx", "--layers", "conv9"]
    assert main(words) == 2
    assert "no layers conv9; this run has conv1, conv2, conv3, fc" in capsys.readouterr().err


def test_imported_weights_are_balanced_on_a_sample_that_is_given(make_run: MakeRun) -> None:
    run = make_run(backbone="alexnet", image_size=63, embedding_dim=8)
    stored = json.loads((run.path / "config.json").read_text())
    imported = {"file": "feature_net_epoch1", "sha256": "0", "layout": "AlexNet", "heads": HEADS}
    stored |= {"data": None, "imported": imported}
    (run.path / "config.json").write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match="no images came with them: give --sample"):
        export(run.path, format="caffe", rescale="balanced")
