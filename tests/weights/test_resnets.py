"""torchvision and timm load what was written for them, strictly."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import timm
import torch
import torchvision

from quarterturn.errors import ConfigError
from quarterturn.weights.check import clouds
from quarterturn.weights.timm import export_timm
from quarterturn.weights.torchvision import export_torchvision
from tests.fixtures.runs import MakeRun


@torch.no_grad()
@pytest.mark.parametrize(("name", "method"), [("resnet18", "decoupling"), ("resnet50", "rotnet")])
def test_torchvision_loads_strictly_and_tells_turns(
    make_run: MakeRun, name: str, method: str, tmp_path: Path
) -> None:
    run = make_run(backbone=name, image_size=96, method=method)
    network, out = run.load_network(), tmp_path / "model.pth"
    exported = export_torchvision(run, network, out, clouds(run.config.data))
    assert max(d.relative for d in exported.differences) < 1e-5
    assert [d.output for d in exported.differences] == [
        "stem",
        "layer1",
        "layer2",
        "layer3",
        "layer4",
        "pool",
        "fc",
    ]

    theirs = getattr(torchvision.models, name)(num_classes=4).eval()
    theirs.load_state_dict(torch.load(out, weights_only=True), strict=True)
    images = torch.randn(2, 3, 96, 96)
    expected = network.rotation_logits(network.backbone(images))
    assert expected.std() > 0
    torch.testing.assert_close(theirs(images), expected)


@torch.no_grad()
def test_a_classifier_to_be_trained(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(backbone="resnet18", image_size=96, method="instance")
    network, out, images = run.load_network(), tmp_path / "model.pth", clouds(run.config.data)
    with pytest.raises(ConfigError, match="no rotation head to stand there: give --num-classes"):
        export_torchvision(run, network, out, images)
    exported = export_torchvision(run, network, out, images, num_classes=10)
    assert exported.notes == ("The classifier is all zeros, to be trained.",)
    theirs = torchvision.models.resnet18(num_classes=10).eval()
    theirs.load_state_dict(torch.load(out, weights_only=True), strict=True)
    assert torch.equal(theirs(images), torch.zeros(4, 10))
    theirs.fc = torch.nn.Identity()
    torch.testing.assert_close(theirs(images), network.backbone(images))


@torch.no_grad()
@pytest.mark.parametrize(
    ("backbone", "side", "name", "arguments"),
    [
        ("resnet18", 96, "resnet18", {}),
        ("timm:resnet10t", 48, "resnet10t", {}),
        ("timm:vit_tiny_patch16_224", 48, "vit_tiny_patch16_224", {"img_size": 48}),
    ],
)
def test_timm_loads_by_name_and_path(
    make_run: MakeRun,
    backbone: str,
    side: int,
    name: str,
    arguments: dict[str, int],
    tmp_path: Path,
) -> None:
    run = make_run(backbone=backbone, image_size=side, embedding_dim=8)
    network, images = run.load_network(), torch.randn(2, 3, side, side)
    for num_classes, path in [(0, "features.safetensors"), (1000, "classes.safetensors")]:
        exported = export_timm(
            run, network, tmp_path / path, clouds(run.config.data), num_classes=num_classes
        )
        assert max(d.relative for d in exported.differences) < 1e-5
        assert (", img_size=48" in exported.loading) == bool(arguments)
    expected = network.backbone(images)
    file = str(tmp_path / "features.safetensors")
    features = timm.create_model(name, num_classes=0, checkpoint_path=file, **arguments).eval()
    torch.testing.assert_close(features(images), expected)
    file = str(tmp_path / "classes.safetensors")
    classes = timm.create_model(name, checkpoint_path=file, **arguments).eval()
    assert torch.equal(classes(images), torch.zeros(2, 1000))
    maps = classes.forward_features(images)
    torch.testing.assert_close(classes.forward_head(maps, pre_logits=True), expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backbone": "resnet18", "image_size": 32}, "below 96 px its stem is a 3x3 convolution"),
        ({"backbone": "nin", "image_size": 32}, "no network like this nin, only resnet18 and"),
    ],
)
def test_networks_that_differ_are_refused_in_words(
    make_run: MakeRun, settings: dict[str, object], words: str, tmp_path: Path
) -> None:
    run = make_run(**settings)
    network, images = run.load_network(), clouds(run.config.data)
    for export, library in [(export_torchvision, "torchvision"), (export_timm, "timm")]:
        with pytest.raises(ConfigError, match=words) as caught:
            export(run, network, tmp_path / "model.pth", images)
        assert library in str(caught.value)
    assert not (tmp_path / "model.pth").exists()


def test_timm_is_an_extra(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    network, images = run.load_network(), clouds(run.config.data)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"--format timm needs an extra: pip install 'quartertu"):
        export_timm(run, network, tmp_path / "x.safetensors", images)
