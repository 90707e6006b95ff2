"""Checkpoints in each of the original formats, equal to a forward pass written out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from quarterturn.config import IMAGENET_MEAN, IMAGENET_STD
from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.presets.unlabelled import CIFAR_MEAN, CIFAR_STD
from quarterturn.weights.reading import read_weights
from tests.weights.originals import (
    State,
    alexnet_layers,
    alexnet_state,
    classifier,
    nin_logits,
    nin_state,
    on_a_gpu_by_python_2,
    weight,
)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.fixture(scope="module")
def alexnet() -> State:
    return alexnet_state(torch.Generator().manual_seed(0))


@pytest.fixture
def nin(generator: torch.Generator) -> State:
    return nin_state(4, generator)


def in_parallel(state: State) -> State:
    return {f"module.{name}": tensor for name, tensor in state.items()}


def save_zip(path: Path, stored: dict[str, Any]) -> None:
    torch.save(stored, path)


def save_old(path: Path, stored: dict[str, Any]) -> None:
    torch.save(stored, path, _use_new_zipfile_serialization=False)


def save_oldest(path: Path, stored: dict[str, Any]) -> None:
    path.write_bytes(on_a_gpu_by_python_2(stored))


@torch.no_grad()
def test_alexnet_of_feature_decoupling_with_its_heads(
    alexnet: State, generator: torch.Generator, tmp_path: Path
) -> None:
    turns: State = {}
    classifier(turns, "fc_classifier.0", 2048, generator)
    embedding: State = {"norm.0.bias": torch.randn(128, generator=generator)}
    weight(embedding, "norm.0", (128, 2048), generator)
    files = {"feature": in_parallel(alexnet), "classifier": turns, "norm": in_parallel(embedding)}
    for name, state in files.items():
        torch.save({"epoch": 245, "network": state}, tmp_path / f"{name}_net_epoch245")
    weights = read_weights(tmp_path / "feature_net_epoch245")
    assert weights.imported.layout == "the AlexNet of FeatureDecoupling"
    assert weights.imported.heads == ("rotation_head", "embedding_head")
    assert weights.left_out == ()
    assert weights.config.run.epochs == 245
    assert (weights.config.data.mean, weights.config.data.std) == (IMAGENET_MEAN, IMAGENET_STD)
    assert weights.config.data.image_size == 224

    images = torch.randn(2, 3, 224, 224, generator=generator)
    expected = alexnet_layers(alexnet, images)
    found = weights.network.backbone.features(images, list(expected))
    assert all(values.std() > 0.05 for values in expected.values())
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-4)
    features = expected["fc7"]
    logits = features[:, :2048] @ turns["fc_classifier.0.weight"].T + turns["fc_classifier.0.bias"]
    torch.testing.assert_close(
        weights.network.rotation_logits(found["fc7"]), logits, rtol=1e-4, atol=1e-4
    )
    mapped = features[:, 2048:] @ embedding["norm.0.weight"].T + embedding["norm.0.bias"]
    length = mapped.pow(2).sum(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(
        weights.network.embed(found["fc7"]), mapped / length, rtol=1e-4, atol=1e-5
    )
    for name in files:  # 230 MB
        (tmp_path / f"{name}_net_epoch245").unlink()


@torch.no_grad()
def test_alexnet_of_rotnet(alexnet: State, generator: torch.Generator, tmp_path: Path) -> None:
    state = dict(alexnet)
    classifier(state, "_feature_blocks.9.0", 4096, generator)
    path = tmp_path / "model_net_epoch50"
    save_old(path, {"epoch": 50, "network": state})
    weights = read_weights(path)
    path.unlink()
    assert weights.imported.layout == "the AlexNet of RotNet"
    assert (weights.config.method.name, weights.config.run.epochs) == ("rotnet", 50)
    images = torch.randn(1, 3, 224, 224, generator=generator)
    features = alexnet_layers(alexnet, images)["fc7"]
    name = "_feature_blocks.9.0"
    logits = features @ state[f"{name}.weight"].T + state[f"{name}.bias"]
    found = weights.network.rotation_logits(weights.network.backbone(images))
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("save", [save_zip, save_old, save_oldest])
@pytest.mark.parametrize(("blocks", "name"), [(3, "nin3"), (4, "nin"), (5, "nin5")])
def test_network_in_network_of_rotnet(
    save: Callable[[Path, dict[str, Any]], None],
    blocks: int,
    name: str,
    generator: torch.Generator,
    tmp_path: Path,
) -> None:
    state = nin_state(blocks, generator)
    save(tmp_path / "model_net_epoch200", {"epoch": 200, "network": in_parallel(state)})
    weights = read_weights(tmp_path / "model_net_epoch200")
    assert weights.config.model.backbone == name
    assert (weights.config.data.mean, weights.config.data.std) == (CIFAR_MEAN, CIFAR_STD)
    assert {tensor.device.type for tensor in weights.network.state_dict().values()} == {"cpu"}
    images = torch.randn(3, 3, 32, 32, generator=generator)
    found = weights.network.rotation_logits(weights.network.backbone(images))
    expected = nin_logits(state, blocks, images)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_resnets_of_torchvision_and_timm(name: str, suffix: str, tmp_path: Path) -> None:
    make = getattr(torchvision.models, name) if suffix == ".pth" else None
    theirs = make(weights=None) if make else timm.create_model(name, pretrained=False)
    with_statistics(theirs)
    path = tmp_path / f"model{suffix}"
    save = torch.save if suffix == ".pth" else save_file
    save(theirs.state_dict(), path)
    weights = read_weights(path)
    assert weights.left_out == ("fc.bias", "fc.weight")
    assert weights.config.model.backbone == name
    assert (weights.config.method.name, weights.imported.heads) == ("imported", ())
    images = torch.randn(2, 3, 96, 96)
    theirs.fc = nn.Identity()
    torch.testing.assert_close(weights.network.backbone(images), theirs.eval()(images))


@torch.no_grad()
def test_another_network_of_timm(tmp_path: Path) -> None:
    name = "vit_tiny_patch16_224"
    theirs = timm.create_model(name, pretrained=False).eval()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "model.pth")
    weights = read_weights(tmp_path / "model.pth", f"timm:{name}")
    assert weights.left_out == ("head.bias", "head.weight")
    assert (weights.config.data.mean, weights.config.data.std) == ((0.5,) * 3, (0.5,) * 3)
    assert (weights.config.data.image_size, weights.config.data.eval_crop) == (224, 0.9)
    images = torch.randn(1, 3, 224, 224)
    expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
    torch.testing.assert_close(weights.network.backbone(images), expected)


def test_a_file_named_after_its_network_of_timm(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    for name in ("test_resnet.r160_in1k.pth", "renamed.pth"):
        torch.save(state, tmp_path / name)
    weights = read_weights(tmp_path / "test_resnet.r160_in1k.pth")
    assert weights.config.model.backbone == "timm:test_resnet"
    with pytest.raises(CheckpointError, match="quarterturn import FILE --backbone timm:NAME --out"):
        read_weights(tmp_path / "renamed.pth")


def with_statistics(network: nn.Module) -> None:
    """Batch norms that are not the identity."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                nn.init.uniform_(values, 0.7, 1.3)
            for values in (module.bias, module.running_mean):
                nn.init.uniform_(values, -0.2, 0.3)


def test_every_key_is_accounted_for(nin: State, tmp_path: Path) -> None:
    first = "_feature_blocks.0.Block1_ConvB1.layers"
    del nin[f"{first}.BatchNorm.running_var"]
    nin["extra.weight"] = torch.zeros(1)
    nin["_feature_blocks.4.Classifier.weight"] = torch.zeros(10, 192)
    torch.save({"epoch": 3, "network": nin}, tmp_path / "model")
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path / "model")
    words = str(caught.value)
    assert "RotNet's Network-in-Network of 4 blocks, but it does not fit" in words
    assert f"missing (1):\n  {first}.BatchNorm.running_var" in words
    assert "unexpected (1):\n  extra.weight" in words
    assert "Classifier.weight is (10, 192), expected (4, 192)" in words


def test_half_a_head_is_not_a_head(alexnet: State, tmp_path: Path) -> None:
    torch.save({"network": alexnet}, tmp_path / "feature_net_epoch1")
    torch.save(
        {"network": {"fc_classifier.0.weight": torch.zeros(4, 2048)}},
        tmp_path / "classifier_net_epoch1",
    )
    with pytest.raises(CheckpointError, match=r"missing \(1\):\n  fc_classifier\.0\.bias"):
        read_weights(tmp_path / "feature_net_epoch1")
    (tmp_path / "feature_net_epoch1").unlink()


def test_counts_of_batches_are_taken_where_they_are(nin: State, tmp_path: Path) -> None:
    name = "_feature_blocks.1.Block2_ConvB3.layers.BatchNorm.num_batches_tracked"
    nin[name] = torch.tensor(7)
    torch.save({"network": nin}, tmp_path / "model")
    state = read_weights(tmp_path / "model").network.state_dict()
    assert state["backbone.stages.block2.7.num_batches_tracked"] == 7
    assert state["backbone.stages.block2.4.num_batches_tracked"] == 0


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ([1, 2], "holds a list; expected named tensors"),
        ({}, "holds no tensors"),
        ({"network": {"a": 3, "b": torch.zeros(1)}}, "other things than tensors: a; expected"),
        ({"epoch": 3, "optimizer": {"state": {}}}, "the state of an optimizer"),
        (
            {"features.0.weight": torch.zeros(1)},
            "not the weights of a known network: 1 tensors, the first",
        ),
        ({"fc_classifier.0.weight": torch.zeros(1)}, "expected a feature_net_epochN"),
        (
            {"network": {"backbone.stages.fc.weight": torch.zeros(1)}},
            "a checkpoint of quarterturn: use its run",
        ),
        ({"_feature_blocks.0.Block1_ConvB1.layers": torch.zeros(1)}, "but of 1 blocks"),
    ],
)
def test_what_a_file_may_hold_instead(stored: Any, words: str, tmp_path: Path) -> None:
    torch.save(stored, tmp_path / "model")
    with pytest.raises(CheckpointError, match=words) as caught:
        read_weights(tmp_path / "model")
    assert str(tmp_path / "model") in str(caught.value)


def test_another_architecture(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "model.pth")
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path / "model.pth")
    assert "this looks like torchvision's or timm's resnet18, but it does not fit" in str(
        caught.value
    )
    assert "layer1.2.conv1.weight" in str(caught.value)


def test_another_backbone_than_the_one_asked_for(nin: State, tmp_path: Path) -> None:
    torch.save(nin, tmp_path / "model")
    assert read_weights(tmp_path / "model", "nin").config.run.epochs == 0
    with pytest.raises(ConfigError, match="--backbone alexnet, but the file looks like RotNet's"):
        read_weights(tmp_path / "model", "alexnet")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file(old: bool, kept: float, nin: State, tmp_path: Path) -> None:
    path = tmp_path / "model"
    torch.save({"network": nin}, path, _use_new_zipfile_serialization=not old)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(CheckpointError, match=r"model is damaged or truncated"):
        read_weights(path)


@pytest.mark.parametrize("name", ["photo.jpg", "model.safetensors"])
def test_a_file_of_another_kind(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xff\xd8\xff\xe0 nothing of the sort")
    with pytest.raises(CheckpointError, match="is damaged"):
        read_weights(path)
    with pytest.raises(CheckpointError, match="no file at"):
        read_weights(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="no file at"):
        read_weights(tmp_path)


class Creates:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("old", [False, True])
def test_a_malicious_checkpoint_is_refused_and_creates_nothing(
    old: bool, nin: State, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    stored = {"epoch": Creates(tmp_path / "created"), "network": nin}
    torch.save(stored, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(CheckpointError, match=r"holds the Python object \w+\.mkdir") as caught:
        read_weights(path)
    assert not (tmp_path / "created").exists()
    assert "weights_only" not in str(caught.value)  # torch's advice to unpickle it after all
    torch.load(path, weights_only=False)  # it would have
    assert (tmp_path / "created").exists()


def test_a_whole_pickled_module_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "nce_average_cri_epoch245"
    torch.save({"epoch": 245, "criterion": nn.Linear(2, 2)}, path)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    assert "torch.nn.modules.linear.Linear" in str(caught.value)
    assert "this is the memory bank of the original code" in str(caught.value)
    assert "expected the network's weights, in feature_net_epochN" in str(caught.value)


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_originals_optimizer_state_is_named(wrapped: bool, tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    path = tmp_path / "feature_net_optim_epoch245"
    torch.save({"epoch": 245, "optimizer": state} if wrapped else state, path)
    with pytest.raises(CheckpointError) as caught:
        read_weights(path)
    words = "the state of an optimizer after epoch 245" if wrapped else "the state of an optimizer:"
    assert words in str(caught.value)
    assert "expected the network's own file, such as feature_net_epoch245" in str(caught.value)


def test_tensors_of_parallel_training_have_the_names_of_others(nin: State, tmp_path: Path) -> None:
    states: list[dict[str, Tensor]] = []
    for name, state in [("plain", nin), ("parallel", in_parallel(nin))]:
        torch.save({"network": state}, tmp_path / name)
        states.append(read_weights(tmp_path / name).network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
