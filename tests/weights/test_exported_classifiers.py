"""A run of finetune is exported with its classifier, which its consumer computes as we do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import onnxruntime
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from quarterturn import ConfigError, export, import_checkpoint, load_backbone, predict
from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.methods.classifier import ClassifierNetwork
from quarterturn.runs import Run
from tests.fixtures.runs import MakeRun

CLASSES = ("cat", "dog, small", "=|bird|", "a", "b")


def skewed(run: Run, *, empty: bool = False) -> Run:
    """The run with frequencies of classes as of a long tail; the last one may have no image."""
    network = run.load_network()
    assert isinstance(network, ClassifierNetwork)
    network.log_priors.copy_(torch.linspace(0, -4, len(CLASSES)))
    if empty:
        network.log_priors[-1] = -torch.inf
    save_checkpoint(run.checkpoint, {"network": network.state_dict(), "epochs_done": 25.0})
    return run


@torch.no_grad()
def probabilities(run: Run, images: Tensor) -> Tensor:
    network = run.load_network()
    assert isinstance(network, ClassifierNetwork)
    return network.probabilities(network(images))


@torch.no_grad()
@pytest.mark.parametrize("loss", ["cross-entropy", "ldam"])
def test_safetensors_keep_the_classifier_and_its_names(
    make_run: MakeRun, loss: str, photos: Path, tmp_path: Path
) -> None:
    run = skewed(make_run(class_names=CLASSES, loss=loss, post_hoc_adjustment=0.7), empty=True)
    result = export(run.path, format="safetensors", out=tmp_path / "x.safetensors")
    assert [d["output"] for d in result["differences"]][-1] == "classifier"
    assert all(d["relative"] == 0 for d in result["differences"])
    assert result["class_names"] == list(CLASSES)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert json.loads(file.metadata()["class_names"]) == list(CLASSES)

    images = torch.randn(3, 3, 16, 16)
    loaded = load_backbone(tmp_path / "x.safetensors")
    assert loaded.class_names == CLASSES
    torch.testing.assert_close(loaded.classify(images), probabilities(run, images))
    assert (loaded.classify(images)[:, -1] == 0).all()

    again = import_checkpoint(tmp_path / "x.safetensors", out=tmp_path / "again")
    labels = [
        predict(each.path, photos, out=tmp_path / name, device="cpu", workers=0).read_text()
        for each, name in [(run, "a.csv"), (again, "b.csv")]
    ]
    assert labels[0] == labels[1]


def test_a_backbone_without_classifier_says_so(make_run: MakeRun) -> None:
    with pytest.raises(ConfigError, match="these weights have no classifier: quarterturn finetune"):
        load_backbone(make_run().path).classify(torch.zeros(1, 3, 16, 16))


def test_onnx_gives_logits_of_the_probabilities(make_run: MakeRun) -> None:
    run = skewed(make_run(class_names=CLASSES, loss="ldam", post_hoc_adjustment=1.0), empty=True)
    result = export(run.path, format="onnx")
    path = run.path / "exports" / "onnx" / "convnet.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["fc", "logits"]
    assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == list(CLASSES)
    images = torch.randn(6, 3, 16, 16)
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    found = torch.from_numpy(logits).softmax(dim=1)
    torch.testing.assert_close(found, probabilities(run, images), rtol=1e-4, atol=1e-6)
    assert max(d["relative"] for d in result["differences"]) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize(
    ("settings", "empty"),
    [({"post_hoc_adjustment": 1.5}, True), ({"loss": "ldam", "scale": 20.0}, False)],
    ids=["adjusted", "cosines"],
)
def test_resnets_have_the_classifier_in_other_libraries(
    make_run: MakeRun, settings: dict[str, Any], empty: bool
) -> None:
    run = skewed(
        make_run(class_names=CLASSES, backbone="resnet18", image_size=96, **settings), empty=empty
    )
    notes = set()
    for consumer in ("torchvision", "timm"):
        result = export(run.path, format=consumer)
        assert max(d["relative"] for d in result["differences"]) < 1e-5
        notes.add(result["notes"])
    ((note,),) = notes
    folder = run.path / "exports"
    torchvisions = torchvision.models.resnet18(num_classes=len(CLASSES))
    state = torch.load(folder / "torchvision" / "resnet18.pth", weights_only=True)
    torchvisions.load_state_dict(state, strict=True)
    file = str(folder / "timm" / "resnet18.safetensors")
    timms = timm.create_model("resnet18", num_classes=len(CLASSES), checkpoint_path=file)
    images, scale = torch.randn(2, 3, 96, 96), torch.ones(())
    if "loss" in settings:
        assert "probabilities are softmax(20 * logits / length)" in note
        scale = 20 / run.load_network().backbone(images).norm(dim=1, keepdim=True)
    expected = probabilities(run, images)
    assert expected.std() > 0.01
    for theirs in (torchvisions, timms):
        found = (scale * theirs.eval()(images)).softmax(dim=1)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_networks_of_timm_keep_it_where_a_layer_fits(make_run: MakeRun) -> None:
    for name, fits in [("vit_tiny_patch16_224", True), ("deit_tiny_distilled_patch16_224", False)]:
        run = make_run(name, class_names=CLASSES, backbone=f"timm:{name}", image_size=32)
        result = export(run.path, format="timm")
        outputs = [d["output"] for d in result["differences"]]
        assert outputs == (["pool", "logits"] if fits else ["pool"])
        note = "the 5 classes of the run" if fits else "is not in this file"
        assert note in result["notes"][0]
        lines = result["loading"].splitlines()
        assert lines[0] == "import timm"
        assert lines[2].startswith("logits = network(images)" if fits else "features = ")
        assert ("num_classes=5, img_size=32" in lines[1]) == fits


@torch.no_grad()
def test_caffe_has_it_after_the_last_layer(make_run: MakeRun) -> None:
    run = skewed(make_run(class_names=CLASSES, backbone="alexnet", image_size=63), empty=False)
    result = export(run.path, format="caffe", rescale="balanced")
    assert [d["output"] for d in result["differences"]][-1] == "classifier"
    assert max(d["relative"] for d in result["differences"]) < 1e-5
    folder = run.path / "exports" / "caffe"
    theirs = cv2.dnn.readNetFromCaffe(
        str(folder / "alexnet.prototxt"), str(folder / "alexnet.caffemodel")
    )
    images = torch.randn(2, 3, 63, 63)
    theirs.setInput(images.numpy())
    found = torch.from_numpy(theirs.forward()).softmax(dim=1)
    torch.testing.assert_close(found, probabilities(run, images), rtol=1e-3, atol=1e-5)


def test_adjusted_cosines_are_no_linear_layer(make_run: MakeRun) -> None:
    settings = {"backbone": "resnet18", "image_size": 96, "loss": "ldam"}
    run = make_run(class_names=CLASSES, post_hoc_adjustment=1.0, **settings)
    with pytest.raises(ConfigError, match="no linear layer computes that; --format safetensors"):
        export(run.path, format="torchvision")
    assert not (run.path / "exports").exists()
    export(run.path, format="torchvision", num_classes=3)


@torch.no_grad()
def test_a_rotation_head_of_cosines_turns_linear(make_run: MakeRun, tmp_path: Path) -> None:
    settings = {"backbone": "resnet18", "image_size": 96, "balance_turns": True}
    run = make_run(**settings)
    result = export(run.path, format="torchvision", out=tmp_path / "x.pth")
    assert "length of the rotation half" in result["notes"][0]
    theirs = torchvision.models.resnet18(num_classes=4).eval()
    theirs.load_state_dict(torch.load(tmp_path / "x.pth", weights_only=True), strict=True)
    images, network = torch.randn(2, 3, 96, 96), run.load_network()
    features = network.backbone(images)
    expected = network.rotation_logits(features) / network.rotation_scale
    length = features[:, :256].norm(dim=1, keepdim=True)
    torch.testing.assert_close(theirs(images) / length, expected, rtol=1e-3, atol=1e-5)


def test_the_cards_lines_and_classes(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(class_names=CLASSES)
    export(run.path, format="safetensors")
    folder = run.path / "exports" / "safetensors"
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "| heads | classifier |" in card
    assert "## Classes\n\n| logit | class |\n| --- | --- |\n| 0 | cat |\n| 1 | dog, small |" in card
    assert "| 2 | =\\|bird\\| |" in card
    monkeypatch.chdir(folder)
    Image.new("RGB", (20, 30), "red").save("photo.jpg")
    names: dict[str, Any] = {}
    exec(card.split("```python\n")[1].split("\n```")[0], names)
    assert names["backbone"].classify(torch.zeros(2, 3, 16, 16)).shape == (2, len(CLASSES))
