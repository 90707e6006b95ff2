"""``detect`` from end to end, on a small tree, for a few iterations."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from quarterturn import ConfigError, DataError, detect, detection_average_precision, resume_detect
from quarterturn.cli import main
from quarterturn.detection.proposals import Proposals, kept_proposals, write_proposals
from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.engine.schedule import learning_rate
from quarterturn.errors import CheckpointError
from quarterturn.methods.fast_rcnn import FastRCNN
from quarterturn.presets import PRESETS, preset
from quarterturn.runs import Run
from quarterturn.runs.detection_records import read_detection_result, read_detections
from quarterturn.weights.import_checkpoint import import_checkpoint
from tests.engine.equality import assert_same_checkpoint
from tests.fixtures.detection import DETECT
from tests.fixtures.runs import write_run
from tests.fixtures.voc import write_lists, write_voc_image
from tests.weights.originals import alexnet_state


@pytest.fixture(autouse=True)
def _no_pictures(without_page, monkeypatch):
    """Runs of these tests draw nothing: what the page shows is in `test_shown_images`."""
    monkeypatch.setattr("quarterturn.detection.training.best_and_worst", lambda *shown: [])


def test_it_finds_objects_far_better_than_chance(detector_run: Run):
    result = read_detection_result(detector_run.path)
    assert result.class_names == ["blue", "green", "red"]
    assert (result.training_images, result.test_images, result.iterations) == (24, 12, 40)
    detections = read_detections(detector_run.path)
    for number, each in enumerate(result.classes):
        found, truth = detections.of_class(number)
        for rule, expected in (("11-point", each.ap_11_point), ("area", each.ap_area)):
            ap = detection_average_precision(found, truth, rule=rule)
            assert ap == pytest.approx(expected)
        assert each.test_boxes == sum(map(len, truth))
        assert each.recall[-1] == pytest.approx(len(each.recall) / each.test_boxes)
    # Scores in any order find some objects too.
    shuffled = np.random.default_rng(0).permutation(len(detections.score))
    chance = [
        detection_average_precision(*by_chance.of_class(number), rule="area")
        for by_chance in [
            type(detections)(**{**vars(detections), "score": detections.score[shuffled]})
        ]
        for number in range(3)
    ]
    assert result.mean_ap_area > np.mean(chance) + 0.25
    assert result.recall_of_proposals > 0.9


def test_the_run_is_whole(detector_run: Run):
    assert detector_run.kind == "detect"
    lines = detector_run.read_metrics("train")
    assert lines[-1]["step"] == 39
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[0]["loss"] == pytest.approx(lines[0]["classification"] + lines[0]["boxes"])
    assert (detector_run.path / "report.html").exists()
    assert (detector_run.path / "items.csv").read_text().count("trained on") == 24


def test_normalisation_is_folded_into_the_kept_weights(detector_run: Run):
    network = detector_run.load_network()
    assert isinstance(network, FastRCNN)
    assert network.offset_means.abs().max() == 0
    assert (network.offset_stds == 1).all()


def test_folding_changes_no_prediction():
    from quarterturn.models.registry import build_backbone

    network = FastRCNN(build_backbone("convnet", 32), 3).eval()
    torch.nn.init.normal_(network.box_offsets.weight, std=0.1)
    network.offset_means.copy_(torch.randn(4, 4))
    network.offset_stds.copy_(torch.rand(4, 4) + 0.2)
    image, regions = torch.randn(3, 40, 50), torch.tensor([[0.0, 0, 20, 20], [5, 5, 30, 39]])
    before = network.predict(image, regions)
    weight = network.box_offsets.weight.detach().clone()
    for _ in range(2):  # once more is harmless
        network.fold_offsets()
        for found, expected in zip(network.predict(image, regions), before, strict=True):
            torch.testing.assert_close(found, expected)
    assert not torch.equal(weight, network.box_offsets.weight)


def test_an_interrupted_run_continues_to_the_same_bits(
    detector_run: Run, boxed_tree, proposals_file, tmp_path
):
    def stopped(*arguments):
        raise KeyboardInterrupt

    out = tmp_path / "run"
    settings = {**DETECT, "checkpoint_every": 7, "iterations": 40}
    from quarterturn.engine import loop

    with pytest.MonkeyPatch.context() as patch:
        step = loop.training_step

        def some_steps(training, *arguments):
            return step(training, *arguments) if training.step < 23 else stopped()

        patch.setattr(loop, "training_step", some_steps)
        with pytest.raises(KeyboardInterrupt):
            detect(f"voc:{boxed_tree}", proposals=str(proposals_file), out=out, **settings)
    assert torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["step"] == 21
    resume_detect(out)
    states = [
        torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)
        for path in (out, detector_run.path)
    ]
    for name, values in states[1]["network"].items():
        assert torch.equal(values, states[0]["network"][name]), name
    one, other = (read_detections(path) for path in (out, detector_run.path))
    assert np.array_equal(one.score, other.score)
    before = (out / "detection.json").stat().st_mtime_ns
    resume_detect(out)  # finished: nothing changes
    assert (out / "detection.json").stat().st_mtime_ns == before


@pytest.fixture
def copy(detector_run: Run, tmp_path) -> Run:
    shutil.copytree(detector_run.path, tmp_path / "copy")
    return Run.open(tmp_path / "copy")


def test_a_test_is_made_again_where_its_files_are_gone(copy: Run):
    expected = read_detection_result(copy.path)
    (copy.path / "detections.npz").write_bytes(b"damaged")
    resume_detect(copy.path)
    found = read_detection_result(copy.path)
    assert found.classes == expected.classes
    assert len(read_detections(copy.path).names) == 12


def test_other_proposals_are_refused_on_resuming(copy: Run, capsys):
    found = kept_proposals(copy.path)
    moved = tuple(np.maximum(boxes - 1, 0) for boxes in found["train"].boxes)
    found["train"] = Proposals(found["train"].names, moved)
    write_proposals(copy.path / "proposals.npz", found)
    state = copy.checkpoint.read_bytes()
    (copy.path / "detection.json").unlink()
    with pytest.raises(CheckpointError, match="it was trained on other proposals"):
        resume_detect(copy.path)
    assert copy.checkpoint.read_bytes() == state
    assert main(["detect", "--resume", str(copy.path), "--proposals", "x.npz"]) == 2
    assert "--resume RUN takes --proposals from the run" in capsys.readouterr().err
    (copy.path / "proposals.npz").unlink()
    with pytest.raises(CheckpointError, match=r"proposals.npz is gone, and the run has learned"):
        resume_detect(copy.path)


def test_other_boxes_are_refused_on_resuming(copy: Run, boxed_tree, tmp_path):
    tree = shutil.copytree(boxed_tree, tmp_path / "tree")
    resume_detect(copy.path, data=f"voc:{tree}")  # the images have moved, and are the same
    file = tree / "Annotations" / "000003.xml"
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    with pytest.raises(DataError, match=r"the labels of .* are not those the run began with"):
        resume_detect(copy.path)


@pytest.mark.parametrize("name", ["voc07-fast-rcnn", "voc07-faster-rcnn"])
def test_the_rate_drops_where_the_recipe_says(name):
    recipe = preset(name).with_settings(warmup_steps=0)
    drops = {"voc07-fast-rcnn": (80_000, 160_000), "voc07-faster-rcnn": (49_000,)}[name]
    total = recipe.method.iterations
    per_part = total // recipe.run.epochs

    def rate(step):
        return learning_rate(step / per_part, recipe.run.epochs, recipe.optimizer)

    base = recipe.optimizer.learning_rate
    assert rate(0) == base
    for number, step in enumerate(drops):
        assert rate(step - 1) == pytest.approx(base * 0.1**number)
        assert rate(step) == pytest.approx(base * 0.1 ** (number + 1))
    assert rate(total - 1) == pytest.approx(base * 0.1 ** len(drops))


def test_fewer_iterations_scale_the_schedule(detector_run: Run):
    base = detector_run.config.optimizer.learning_rate
    for line in detector_run.read_metrics("train"):
        drops = (line["step"] >= 16) + (line["step"] >= 32)  # of 40
        assert line["learning_rate"] == pytest.approx(base * 0.1**drops)


@pytest.fixture
def original_alexnet(tmp_path) -> Run:
    """Weights in the original's own format, imported."""
    state = alexnet_state(torch.Generator().manual_seed(0))
    torch.save({"network": state}, tmp_path / "feature_net_epoch245")
    return import_checkpoint(tmp_path / "feature_net_epoch245", out=tmp_path / "original")


@pytest.fixture
def small_alexnet(tmp_path) -> Run:
    """AlexNet at 63 px, whose pool5 is a single cell."""
    settings = {"backbone": "alexnet", "image_size": 63, "embedding_dim": 8, "num_noise": 16}
    return write_run(tmp_path / "small", **settings)


@pytest.fixture
def last_checkpoints(monkeypatch):
    """Ten checkpoints of a large network would be gigabytes; the last two are kept."""

    def save(path, state, previous=None):
        if state["step"] >= 9:
            save_checkpoint(path, state, previous=previous)

    monkeypatch.setattr("quarterturn.engine.loop.save_checkpoint", save)


@pytest.mark.usefixtures("last_checkpoints")
@pytest.mark.parametrize(
    ("fixture", "side"),
    [("small_alexnet", 1), pytest.param("original_alexnet", 6, marks=pytest.mark.slow)],
)
def test_alexnet_runs_through_both_presets(
    fixture, side, request, boxed_tree, proposals_file, tmp_path
):
    start = request.getfixturevalue(fixture)
    few = {"iterations": 10, "limit": 8, "per_image": 10, "regions_per_image": 8}
    short = {**DETECT, **few, "start": str(start.path)}
    short = {name: short[name] for name in short.keys() - {"backbone", "image_size"}}
    data = f"voc:{boxed_tree}"
    fast = detect(data, proposals=str(proposals_file), out=tmp_path / "fast", **short)
    assert fast.config.model.backbone == "alexnet-folded"
    network = fast.load_network()
    assert isinstance(network, FastRCNN)
    assert (network.regions.side, network.regions.stride) == (side, 16)
    # conv1 is as it was, and what is behind has moved.
    images, before = torch.randn(1, 3, 80, 80), start.load_network().backbone.eval()
    layers = ["conv1", "conv5"]
    with torch.no_grad():
        expected, found = (each.features(images, layers) for each in (before, network.backbone))
    torch.testing.assert_close(found["conv1"], expected["conv1"], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(found["conv5"], expected["conv5"], rtol=1e-3, atol=1e-3)
    faster = detect(data, preset="voc07-faster-rcnn", out=tmp_path / "faster", **short)
    assert read_detection_result(faster.path).detector == "faster-rcnn"
    assert not (faster.path / "proposals.npz").exists()


@pytest.mark.usefixtures("last_checkpoints")
def test_faster_rcnn_continues_to_the_same_bits(boxed_tree, tmp_path):
    short = {**DETECT, "preset": "voc07-faster-rcnn", "iterations": 10, "limit": 8}
    run = detect(f"voc:{boxed_tree}", out=tmp_path / "run", **short)
    whole = Run.open(shutil.copytree(run.path, tmp_path / "whole"))
    assert torch.load(run.previous_checkpoint, weights_only=True)["step"] == 9
    run.previous_checkpoint.replace(run.checkpoint)
    (run.path / "detection.json").unlink()
    resume_detect(run.path)
    assert_same_checkpoint(run.path, whole.path)


@pytest.mark.usefixtures("last_checkpoints")
@pytest.mark.parametrize("backbone", ["timm:resnet10t", "resnet18"])
def test_other_backbones_learn_too(boxed_tree, proposals_file, tmp_path, backbone):
    if backbone.startswith("timm"):
        pytest.importorskip("timm")
    run = detect(
        f"voc:{boxed_tree}",
        proposals=str(proposals_file),
        out=tmp_path / "run",
        **{
            **DETECT,
            "backbone": backbone,
            "image_size": 64,
            "iterations": 10,
            "limit": 8,
            "regions_per_image": 8,
            "learning_rate": 1e-4,
        },
    )
    assert len(read_detection_result(run.path).classes) == 3


def test_a_start_that_nobody_trained_gets_statistics(boxed_tree, proposals_file, tmp_path):
    start = write_run(tmp_path / "start", backbone="resnet18", image_size=96, epochs=0)
    run = detect(
        f"voc:{boxed_tree}",
        start=str(start.path),
        proposals=str(proposals_file),
        out=tmp_path / "run",
        **{**DETECT, "backbone": "resnet18", "image_size": 96, "iterations": 0},
    )
    norm = run.load_network().backbone.stages["stem"][1]
    before = start.load_network().backbone.stages["stem"][1]
    torch.testing.assert_close(norm.weight, before.weight)
    assert not torch.allclose(norm.running_var, before.running_var)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--proposals is missing: --preset voc07-fast-rcnn classifies regions that are given"),
        ({"proposals": "x.npz", "iterations": 15}, "--iterations is 15; expected a multiple of 10"),
        ({"proposals": "x.npz", "epochs": 3}, "--epochs is 3; detect trains for --iterations"),
        (
            {"proposals": "x.npz", "preset": "voc07-faster-rcnn"},
            "--proposals x.npz: faster-rcnn makes its own; leave it out",
        ),
        (
            {"proposals": "selective-search", "test_proposals": "x.mat"},
            "--test-proposals x.mat goes with --proposals FILE.mat: leave it out",
        ),
        ({"proposals": "x.npz", "scales": ()}, "--scales is empty; expected one side in pixels"),
        (
            {"proposals": "x.npz", "background_from": 0.6},
            "--background-from is 0.6; expected less than --foreground-from 0.5",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(boxed_tree, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        detect(f"voc:{boxed_tree}", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_data_without_boxes_is_refused(tmp_path):
    with pytest.raises(DataError, match="digits has no boxes: expected voc2007:ROOT, or voc:ROOT"):
        detect("digits", proposals="x.npz", backbone="convnet", out=tmp_path / "run")


@pytest.mark.parametrize(
    ("test_objects", "message"),
    [
        ([("cat", (5, 5, 20, 20))], "no box that is not difficult of dog in its test images"),
        ([("cat", (5, 5, 20, 20)), ("dog?", (5, 5, 20, 20))], "not difficult of dog in its test"),
        ([("cat", (5, 5, 20, 20)), ("cow", (5, 5, 20, 20))], "no box of cow in its training"),
    ],
)
def test_a_class_without_boxes_is_named(tmp_path, test_objects, message):
    for number in range(10):
        objects = [("cat", (5, 5, 20, 20)), ("dog", (8, 8, 30, 30))]
        write_voc_image(tmp_path, f"{number}", objects if number < 9 else test_objects)
    write_lists(tmp_path, {"trainval": [str(n) for n in range(9)], "test": ["9"]})
    with pytest.raises(DataError, match=message):
        detect(f"voc:{tmp_path}", proposals="x.npz", backbone="convnet", out=tmp_path / "run")


def test_an_image_without_annotation_is_listed(boxed_tree, proposals_file, tmp_path):
    tree = shutil.copytree(boxed_tree, tmp_path / "tree")
    for split in ("trainval", "test"):  # with class files, annotations are read by detect alone
        names = (tree / "ImageSets" / "Main" / f"{split}.txt").read_text().split()
        for kind in ("blue", "green", "red"):
            write_lists(tree, {f"{kind}_{split}": [f"{name} 1" for name in names]})
    (tree / "Annotations" / "000007.xml").unlink()
    with pytest.raises(DataError, match=r"1 of 24 images (?s:.*) no annotation 000007.xml"):
        detect(f"voc:{tree}", proposals=str(proposals_file), **DETECT)


def test_bad_input_ends_with_status_two(boxed_tree, tmp_path, capsys):
    words = ["detect", f"voc:{boxed_tree}", "--proposals", str(tmp_path / "none.npz")]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert main(["detect", f"voc:{tmp_path}", "--proposals", "x.npz"]) == 2
    assert "has no folder ImageSets/Main" in capsys.readouterr().err


def test_presets_are_among_the_others():
    assert {"voc07-fast-rcnn", "voc07-faster-rcnn"} <= PRESETS.keys()
