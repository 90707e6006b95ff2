"""``finetune --preset voc07-...`` on a small tree, from a small AlexNet, for a few iterations."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from quarterturn import ConfigError, average_precision, finetune, import_checkpoint
from quarterturn.classifying.finetune import resume_finetune
from quarterturn.data.crop_plans import random_crops
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.sources import open_source
from quarterturn.runs import Run
from quarterturn.weights.backbone_weights import weights_for
from tests.fixtures.runs import write_run
from tests.weights.originals import alexnet_state

SHORT = {"epochs": 2, "images_per_epoch": 32, "device": "cpu", "workers": 0, "log_every": 1}


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A decoupled AlexNet at 63 px that nobody has trained, with batch norms of some effect."""
    path = tmp_path_factory.mktemp("alexnet") / "run"
    return write_run(path, backbone="alexnet", image_size=63, embedding_dim=8, num_noise=16)


@pytest.fixture(scope="module")
def run(alexnet: Run, voc_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Its classifier after four iterations."""
    out = tmp_path_factory.mktemp("voc07") / "fc8"
    (made,) = finetune(f"voc:{voc_tree}", start=alexnet.path, preset="voc07-fc8", out=out, **SHORT)
    return made


def test_the_backbone_is_folded_and_kept(alexnet: Run, run: Run):
    assert run.config.model.backbone == "alexnet-folded"
    assert (run.config.data.mean, run.config.data.image_size) == (alexnet.config.data.mean, 63)
    images = torch.randn(2, 3, 63, 63, generator=torch.Generator().manual_seed(0))
    networks = [r.load_network().backbone.eval() for r in (alexnet, run)]
    with torch.no_grad():
        expected, found = (network(images) for network in networks)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_iterations_are_of_sixteen_and_the_rate_falls(run: Run):
    lines = run.read_metrics("train")
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    rates = [line["learning_rate"] for line in lines]
    assert rates == pytest.approx([0.001] * 2 + [0.001 * 0.5**4] * 2)  # milestones at 1/8 ... 4/8


def test_the_figures_are_of_ten_random_crops(run: Run, voc_tree: Path):
    figures = run.read_json("results.json")["figures"]
    images = open_source(f"voc:{voc_tree}").test
    network, crop = run.load_network().eval(), run.config.data
    passes = []
    for number in range(10):
        crops = partial(random_crops, epoch=2 + number, crop=crop, seed=0)
        with torch.no_grad():
            batches = evaluation_batches(images, crop, crops_of=crops)
            passes.append(torch.cat([network(batch.images) for batch in batches]).numpy())
    for scores, expected in (
        (np.sum(passes, axis=0), figures["mean_ap"]),
        (passes[0], figures["one_crop"]),
    ):
        found = [
            average_precision(s, y) for s, y in zip(scores.T, images.label_sets.T, strict=True)
        ]
        assert np.mean(found) == pytest.approx(expected, abs=0.02)  # scores that nearly tie
    assert "random crops" in (run.path / "report.html").read_text()


def test_an_interrupted_run_continues_to_the_same_bits(run: Run, alexnet, voc_tree, tmp_path):
    (again,) = finetune(
        f"voc:{voc_tree}", start=alexnet.path, preset="voc07-fc8", out=tmp_path / "run", **SHORT
    )
    state = torch.load(again.previous_checkpoint, weights_only=True)
    assert state["step"] == 2
    again.previous_checkpoint.replace(again.checkpoint)
    (again.path / "results.json").unlink()
    resume_finetune(again.path)
    expected, found = (torch.load(r.checkpoint, weights_only=True) for r in (run, again))
    for name, values in expected["network"].items():
        assert torch.equal(values, found["network"][name]), name


def test_deepcluster_begins_with_the_convolutions_alone(alexnet: Run, voc_tree: Path, tmp_path):
    short = SHORT | {"epochs": 1, "images_per_epoch": 16, "random_test_crops": 2}
    (made,) = finetune(
        f"voc:{voc_tree}",
        start=alexnet.path,
        preset="voc07-deepcluster",
        learning_rate=1e-9,  # it ends as it began
        out=tmp_path / "run",
        **short,
    )
    found = made.load_network().backbone.state_dict()
    start = weights_for(alexnet.load_network().backbone, "alexnet-folded")
    assert torch.equal(found["stages.conv5.0.weight"], start["stages.conv5.0.weight"])
    for layer in ("fc6", "fc7"):
        weight, bias = found[f"stages.{layer}.0.weight"], found[f"stages.{layer}.0.bias"]
        assert float(weight.std()) == pytest.approx(0.01, rel=0.01)
        assert torch.allclose(bias, torch.full_like(bias, 0.1), atol=1e-5)
        assert not torch.allclose(weight, start[f"stages.{layer}.0.weight"], atol=1e-3)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Random weights in the format of the method's authors, imported."""
    folder = tmp_path_factory.mktemp("original")
    state = alexnet_state(torch.Generator().manual_seed(0))
    torch.save({"network": state}, folder / "feature_net_epoch245")
    return import_checkpoint(folder / "feature_net_epoch245", out=folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "preset", ["voc07-fc8", "voc07-fc6-8", "voc07-all", "voc07-pool5", "voc07-deepcluster"]
)
def test_every_preset_takes_the_original(original: Run, voc_tree: Path, tmp_path, preset):
    short = SHORT | {"epochs": 1, "images_per_epoch": 16, "random_test_crops": 2}
    (made,) = finetune(
        f"voc:{voc_tree}", start=original.path, preset=preset, out=tmp_path / "run", **short
    )
    assert made.config.data.image_size == 224
    assert 0 < made.read_json("results.json")["figures"]["mean_ap"] <= 1


@pytest.mark.parametrize("preset", ["voc07-fc6-8", "voc07-all", "voc07-pool5"])
def test_every_preset_runs(alexnet: Run, voc_tree: Path, tmp_path, preset):
    short = SHORT | {"epochs": 1, "images_per_epoch": 16, "random_test_crops": 2}
    (made,) = finetune(
        f"voc:{voc_tree}", start=alexnet.path, preset=preset, out=tmp_path / "run", **short
    )
    assert 0 < made.read_json("results.json")["figures"]["mean_ap"] <= 1


def test_one_label_per_image_is_refused(alexnet: Run, photos: Path, tmp_path):
    with pytest.raises(ConfigError, match="--loss sigmoid is for images with several labels"):
        finetune(photos, start=alexnet.path, preset="voc07-fc8", out=tmp_path / "run", **SHORT)


def test_layers_that_another_backbone_lacks_are_named(make_run, voc_tree: Path, tmp_path):
    other = make_run(image_size=16, num_noise=16)
    with pytest.raises(ConfigError, match="--trained is fc6; expected whole, none, or a layer"):
        finetune(
            f"voc:{voc_tree}", start=other.path, preset="voc07-fc6-8", out=tmp_path / "run", **SHORT
        )
    short = SHORT | {"epochs": 1, "images_per_epoch": 16, "random_test_crops": 1}
    (made,) = finetune(
        f"voc:{voc_tree}", start=other.path, preset="voc07-fc8", out=tmp_path / "other", **short
    )
    assert made.config.model.backbone == "convnet"


def test_rescaled_layers_of_a_run(alexnet: Run, run: Run, voc_tree: Path, tmp_path):
    short = SHORT | {"epochs": 1, "images_per_epoch": 16, "random_test_crops": 1}
    (made,) = finetune(
        f"voc:{voc_tree}",
        start=alexnet.path,
        preset="voc07-fc8",
        rescale="unit",
        out=tmp_path / "run",
        **short,
    )
    images = open_source(f"voc:{voc_tree}").train.subset(np.arange(48))
    (batch,) = evaluation_batches(images, made.config.data)
    with torch.no_grad():
        features = made.load_network().eval().backbone(batch.images)
        plain = run.load_network().eval().backbone(batch.images)
    assert float(features.std()) == pytest.approx(1, abs=0.01)
    assert float(plain.std()) != pytest.approx(1, abs=0.1)


def test_only_a_folded_alexnet_is_rescaled(voc_tree: Path, tmp_path):
    with pytest.raises(ConfigError, match="found no --from and --backbone alexnet-folded"):
        finetune(
            f"voc:{voc_tree}",
            preset="voc07-fc8",
            rescale="unit",
            image_size=63,
            out=tmp_path / "run",
            **SHORT,
        )
