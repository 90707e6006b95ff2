"""Which of a file's tensors are the network, where training codes have wrapped it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import Tensor

from quarterturn import CheckpointError, ConfigError, embed, export, import_checkpoint
from quarterturn.cli import main
from quarterturn.config import DataConfig
from quarterturn.data.imageset import ArrayImages
from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.features.extraction import extract, extract_parts
from quarterturn.weights.loading import load_backbone
from quarterturn.weights.prefixes import network_in
from quarterturn.weights.reading import read_weights
from tests.fixtures.runs import MakeRun
from tests.weights.originals import State, nin_state


@pytest.fixture(scope="module")
def net() -> State:
    """RotNet's Network-in-Network of three blocks, a small network."""
    return nin_state(3, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def averages(net: State) -> State:
    return {name: tensor + 1 for name, tensor in net.items()}


def below(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def kept(stored: dict[str, Any], folder: Path, **options: Any) -> tuple[State, str]:
    """The tensors of the network that is read, and what of the file it was."""
    torch.save(stored, folder / "model.pth")
    weights = read_weights(folder / "model.pth", **options)
    return weights.network.state_dict(), weights.imported.part


def is_network(found: State, expected: State) -> bool:
    first = "backbone.stages.block1.0.weight"
    return torch.equal(found[first], expected["_feature_blocks.0.Block1_ConvB1.layers.Conv.weight"])


OTHERS = {"head.weight": torch.zeros(3, 3), "queue": torch.zeros(2)}


@pytest.mark.parametrize(
    "prefix",
    ["backbone.", "encoder_q.", "module.encoder_q.", "student.", "_orig_mod.", "a.b.c.", "model."],
)
def test_one_common_prefix_is_taken_off(
    prefix: str, net: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "quarterturn")
    inside = prefix.removeprefix("module.")
    for number, others in enumerate(({}, below("module." * ("module" in prefix), OTHERS))):
        found, part = kept({"state_dict": below(prefix, net) | others}, tmp_path)
        assert is_network(found, net)
        assert part == f"state_dict.{inside.rstrip('.')}"
        words = caplog.records[-1].getMessage()
        assert f"took the {len(net)} tensors that begin with '{inside}'" in words
        assert ("without the other 2 (head., queue)" in words) == bool(number)


def test_momentum_encoders_are_averages(net: State, averages: State, tmp_path: Path) -> None:
    for trained, average in [
        ("encoder_q.", "encoder_k."),
        ("student.", "teacher."),
        ("base_encoder.", "momentum_encoder."),
        ("online.net.", "target.net."),
        ("model.", "model_ema."),
    ]:
        stored = below(trained, net) | below(average, averages) | OTHERS
        found, part = kept(stored, tmp_path)
        assert is_network(found, net)
        assert part == trained.rstrip(".")
        found, part = kept(stored, tmp_path, ema=True)
        assert is_network(found, averages)
        assert part == average.rstrip(".")


@pytest.mark.parametrize(
    ("plain", "average"), [("state_dict", "state_dict_ema"), ("model", "model_ema")]
)
def test_averages_beside_the_weights(
    plain: str,
    average: str,
    net: State,
    averages: State,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "quarterturn")
    stored = {"epoch": 3, average: below("module.", averages), plain: net}
    found, part = kept(stored, tmp_path)
    assert is_network(found, net)
    assert (part, caplog.records[-1].getMessage()) == (
        plain,
        f"took '{plain}', not the moving averages in '{average}', which --ema takes",
    )
    found, part = kept(stored, tmp_path, ema=True)
    assert is_network(found, averages)
    assert (part, caplog.records[-1].getMessage()) == (
        average,
        f"took the moving averages in '{average}', not '{plain}'",
    )
    del stored[plain]
    found, _ = kept(stored, tmp_path)
    assert is_network(found, averages)
    assert "the file has no other weights" in caplog.records[-1].getMessage()


def test_student_and_teacher_with_backbones_of_their_own(
    net: State, averages: State, tmp_path: Path
) -> None:
    """As DINO's checkpoints are."""
    head = {"head.mlp.weight": torch.zeros(2)}
    stored = {
        "student": below("module.", below("backbone.", net) | head),
        "teacher": below("backbone.", averages) | head,
        "optimizer": {"state": {}},
    }
    for ema, expected, part in [
        (False, net, "student.backbone"),
        (True, averages, "teacher.backbone"),
    ]:
        found, taken = kept(stored, tmp_path, ema=ema)
        assert is_network(found, expected)
        assert taken == part


def test_of_two_networks_the_user_chooses(
    net: State, averages: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = below("left.", net) | below("right.", averages)
    torch.save(stored, tmp_path / "model.pth")
    words = ["import", str(tmp_path / "model.pth"), "--out", str(tmp_path / "run")]
    assert main(words) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "model.pth: there are 2 networks in this file: choose one with --prefix left. or" in told
    assert main([*words, "--prefix", "right"]) == 0
    assert is_network(load_backbone(tmp_path / "run").network.state_dict(), averages)
    assert main([*words, "--overwrite", "--prefix", "middle"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "no tensor begins with 'middle.', which --prefix asks for; they begin with left." in told


def test_what_is_not_there_is_not_taken(net: State, make_run: MakeRun, tmp_path: Path) -> None:
    torch.save({"state_dict": net}, tmp_path / "model.pth")
    with pytest.raises(ConfigError, match=r"--ema: there are no moving averages .*_feature_blocks"):
        read_weights(tmp_path / "model.pth", ema=True)
    export(make_run().path, format="safetensors", out=tmp_path / "own.safetensors")
    for options in ({"ema": True}, {"prefix": "backbone"}):
        with pytest.raises(ConfigError, match="--prefix and --ema are for other codes' files"):
            read_weights(tmp_path / "own.safetensors", **options)


def test_a_part_of_a_network_says_what_is_missing(net: State, tmp_path: Path) -> None:
    partial = dict(net)
    del partial["_feature_blocks.0.Block1_ConvB1.layers.Conv.weight"]
    with pytest.raises(CheckpointError, match=r"does not fit:\nmissing \(1\)"):
        kept(below("backbone.", partial), tmp_path)


def test_networks_of_timm_have_prefixes_too() -> None:
    state = timm.create_model("vit_tiny_patch16_224").state_dict()
    part = network_in(below("encoder.", state) | OTHERS, "timm:vit_tiny_patch16_224")
    assert (part.prefix, part.tensors.keys()) == ("encoder.", state.keys())
    assert part.others == tuple(OTHERS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, net: State, tmp_path: Path) -> None:
    name = "_feature_blocks.1.Block2_ConvB1.layers.Conv.weight"
    wrong = net[name].clone()
    wrong.view(-1)[:2] = value
    torch.save(below("backbone.", net | {name: wrong}), tmp_path / "model.pth")
    words = rf"model.pth: NaN or infinity in backbone\.{name} \(2 of 460,800 values\)"
    with pytest.raises(CheckpointError, match=words):
        import_checkpoint(tmp_path / "model.pth", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unused_tensors_need_not_be_finite(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()
    state["fc.weight"].fill_(torch.nan)
    torch.save(state, tmp_path / "model.pth")
    assert read_weights(tmp_path / "model.pth").left_out == ("fc.bias", "fc.weight")


def test_features_that_are_not_finite_are_not_written(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    network = run.load_network()
    # A variance of 1e-80 is no NaN, but what is divided by its root is infinite.
    network.backbone.stages["conv1"][1].running_var.fill_(0)
    network.backbone.stages["conv1"][1].weight.data.fill_(3e38)
    save_checkpoint(run.checkpoint, {"network": network.state_dict(), "epochs_done": 25.0})
    for suffix in ("npz", "csv"):
        out = tmp_path / f"x.{suffix}"
        with pytest.raises(CheckpointError, match=r"NaN or infinity for .* images, the first"):
            embed(run.path, "digits", out=out, device="cpu")
        assert not out.exists()


def test_the_first_image_without_finite_features_is_named(crop: DataConfig) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    images = ArrayImages(pixels, [f"photo-{i}" for i in range(20)])

    def model(batch: Tensor) -> Tensor:
        values = batch.flatten(1)[:, :3].clone()
        if len(batch) == 8:  # the second of two batches of 12
            values[5, 1] = torch.nan
        return values

    words = "NaN or infinity for 1 of 8 images, the first photo-17:"
    with pytest.raises(CheckpointError, match=words):
        extract(images, crop, model, batch_size=12)
    with pytest.raises(CheckpointError, match=words):
        extract_parts(images, crop, lambda batch: {"whole": model(batch)}, batch_size=12)


def test_large_features_are_finite(crop: DataConfig) -> None:
    """Their sum is not."""
    pixels = np.zeros((9, 8, 8, 3), np.uint8)
    images = ArrayImages(pixels, [f"photo-{i}" for i in range(9)])
    found = extract(images, crop, lambda batch: torch.full((len(batch), 4), 1e38))
    assert found.values.shape == (9, 4)
