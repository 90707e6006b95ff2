from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.weights.check import clouds
from quarterturn.weights.loading import load_backbone
from quarterturn.weights.reading import read_weights
from quarterturn.weights.safetensors import export_safetensors
from tests.fixtures.runs import MakeRun


@pytest.mark.parametrize("method", ["decoupling", "rotnet", "instance", "multiview", "simclr"])
@torch.no_grad()
def test_all_is_read_back(make_run: MakeRun, method: str, tmp_path: Path) -> None:
    run = make_run(method=method, epochs=30, seed=4)
    network, images = run.load_network(), clouds(run.config.data)
    out = tmp_path / "model.safetensors"
    exported = export_safetensors(run, network, out, images)
    assert {d.output for d in exported.differences} == {"conv1", "conv2", "conv3", "fc"} | {
        *network.heads
    }
    assert all(d.absolute == 0 for d in exported.differences)

    weights = read_weights(out)
    assert (weights.epochs, weights.fingerprint) == (25.0, run.fingerprint)
    assert weights.config == run.config
    found, expected = weights.network.state_dict(), network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    loaded = load_backbone(out)
    assert torch.equal(loaded(images), network.backbone(images))
    assert loaded.transform.crop == run.config.data


def test_the_metadata_say_all(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    out = tmp_path / "model.safetensors"
    export_safetensors(run, run.load_network(), out, clouds(run.config.data))
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    assert metadata["architecture"] == "convnet"
    assert metadata["method"] == "decoupling"
    assert metadata["image_size"] == "16"
    assert json.loads(metadata["mean"]) == [0.305, 0.305, 0.305]
    assert json.loads(metadata["std"]) == [0.376, 0.376, 0.376]
    assert json.loads(metadata["split"]) == {
        "rotation": [0, 128],
        "invariant": [128, 256],
        "both": [0, 256],
    }
    assert metadata["quarterturn"]
    assert json.loads(metadata["data"]) == "digits"
    assert str(tmp_path) not in json.dumps(metadata)


def test_other_weights_in_the_same_container(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    out = tmp_path / "model.safetensors"
    export_safetensors(run, run.load_network(), out, clouds(run.config.data))
    with pytest.raises(ConfigError, match=r"--backbone resnet18, but .* is of convnet"):
        read_weights(out, "resnet18")
    tensors = load_file(out)
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    save_file(tensors, tmp_path / "bare.safetensors")  # without metadata
    with pytest.raises(CheckpointError, match="a checkpoint of quarterturn: use its run"):
        read_weights(tmp_path / "bare.safetensors")
    tensors.popitem()
    save_file(tensors, tmp_path / "less.safetensors", metadata)
    with pytest.raises(CheckpointError, match=r"less\.safetensors cannot be read"):
        read_weights(tmp_path / "less.safetensors")
    del metadata["config"]
    save_file(tensors, tmp_path / "other.safetensors", metadata)
    with pytest.raises(CheckpointError, match=r"other\.safetensors cannot be read"):
        read_weights(tmp_path / "other.safetensors")
