from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from quarterturn import DataError, pretrain, resume
from quarterturn.cli import main
from quarterturn.data.labelled import open_labelled
from quarterturn.data.sources import open_source
from quarterturn.methods.build import build_network
from quarterturn.pages.report import write_report
from quarterturn.presets import preset
from quarterturn.pretraining.learning_curve import NOTE, LabelledSample, quick_knn
from quarterturn.runs import Run
from quarterturn.runs.time_budget import Cost
from tests.fixtures.runs import QUICK, no_pages

from ..engine.equality import assert_same_checkpoint


@pytest.fixture(scope="module")
def probed_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`digits_run` with a quick probe after each epoch."""
    with no_pages():
        out = tmp_path_factory.mktemp("runs") / "probed"
        return pretrain("digits", out=out, probe_every=1, **QUICK)


def write_npz(path: Path, pixels: np.ndarray, labels: np.ndarray | None, **test: np.ndarray) -> str:
    arrays = {"train_images": pixels} | test
    np.savez(path, **arrays | ({} if labels is None else {"train_labels": labels}))
    return str(path)


@pytest.fixture
def stripes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """60 images of 12 px, bright at the top in one class and at the bottom in the other."""
    labels = np.arange(60) % 2
    pixels = rng.integers(0, 60, (60, 12, 12, 3), dtype=np.uint8)
    pixels[labels == 0, :6] += 150
    pixels[labels == 1, 6:] += 150
    return pixels, labels


def test_probes_change_no_bit_of_the_training(digits_run: Run, probed_run: Run) -> None:
    assert_same_checkpoint(digits_run.path, probed_run.path)
    losses = [[line["loss"] for line in r.read_metrics("train")] for r in (digits_run, probed_run)]
    assert losses[0] == losses[1]


def test_lines_hold_every_part_upright_and_turned(probed_run: Run) -> None:
    lines = probed_run.read_metrics("quick_probe")
    assert [line["epoch"] for line in lines] == [1, 2]
    assert [line["images_seen"] for line in lines] == [120, 240]
    for line in lines:
        assert line["note"] == NOTE == "quick, on the way; not a probe's result"
        for part in ("rotation", "invariant", "both"):
            for view in ("upright", "turned"):
                assert 0 <= line[f"knn20_{part}_{view}"] <= 1
        assert line["gallery"] + line["queries"] == 1347
        assert line["of"].endswith("no test image")
        assert line["chance"] == pytest.approx(0.1, abs=0.01)
    assert lines[-1]["knn20_both_upright"] > 0.5
    page = " ".join(write_report(probed_run).read_text().split())
    assert "labels were read for quick probes on the way" in page
    assert "Quick, on the way; not a probe" in page


def test_a_resumed_run_has_the_same_curve(probed_run: Run, tmp_path: Path, without_page) -> None:
    shutil.copytree(probed_run.path, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    run.previous_checkpoint.rename(run.checkpoint)  # the last epoch is made again
    resume(run.path)

    def measured(of: Run) -> list[dict]:
        return [line | {"elapsed_s": 0} for line in of.read_metrics("quick_probe")]

    assert measured(run) == measured(probed_run)


def test_other_labels_are_refused_when_resumed(
    tmp_path: Path, stripes: tuple[np.ndarray, np.ndarray], without_page
) -> None:
    pixels, labels = stripes
    data = write_npz(tmp_path / "data.npz", pixels, None)
    labelled = write_npz(tmp_path / "labelled.npz", pixels, labels)
    few = {"epochs": 1, "image_size": 12, "backbone": "convnet", "diagnostics": False}
    settings = QUICK | few | {"probe_every": 5, "probe_data": labelled}
    run = pretrain(data, out=tmp_path / "run", **settings)
    (line,) = run.read_metrics("quick_probe")  # after the last epoch in any case
    assert line["queries"] == 10  # a fifth of the 48 that a probe by default learns from
    write_npz(tmp_path / "labelled.npz", pixels, labels[::-1].copy())
    run.checkpoint.unlink()
    run.previous_checkpoint.unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"not those that .* began with"):
        resume(run.path)


def test_nothing_is_classified_that_a_probe_tests_on(
    tmp_path: Path, stripes: tuple[np.ndarray, np.ndarray]
) -> None:
    pixels, labels = stripes
    whole = write_npz(tmp_path / "whole.npz", pixels, labels)
    sample = LabelledSample.of(open_source(whole), whole)
    used = {*sample.gallery.names, *sample.queries.names}
    assert len(used) == len(sample.gallery) + len(sample.queries) == 48
    split = open_labelled(whole)
    _, held_out = split.parts(0)
    assert not used & {split.train.names[i] for i in held_out}

    test = {"test_images": pixels[:8], "test_labels": labels[:8]}
    split_data = write_npz(tmp_path / "split.npz", pixels, labels, **test)
    sample = LabelledSample.of(open_source(split_data), split_data)
    assert len(sample.gallery) + len(sample.queries) == 60
    other = test | {"test_labels": 1 - labels[:8]}
    again = write_npz(tmp_path / "again.npz", pixels, labels, **other)
    assert LabelledSample.of(open_source(again), again).fingerprint == sample.fingerprint


def test_quick_knn_leaves_the_network_as_it_was(
    tmp_path: Path, stripes: tuple[np.ndarray, np.ndarray]
) -> None:
    data = write_npz(tmp_path / "data.npz", *stripes)
    config = preset("digits").with_settings(image_size=12, method="rotnet")
    network = build_network(config).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    layout = [p.is_contiguous() for p in network.parameters()]
    sample = LabelledSample.of(open_source(data), data)
    found = quick_knn(network, sample, config.data)
    assert found.keys() == {"knn20_whole_upright", "knn20_whole_turned"}
    assert found["knn20_whole_upright"] == 1
    assert found["knn20_whole_turned"] < 0.9  # half a turn makes each class the other
    assert network.training
    assert [p.is_contiguous() for p in network.parameters()] == layout
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_images_without_one_label_each_are_refused(
    tmp_path: Path, stripes: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_npz(tmp_path / "data.npz", stripes[0], None)
    words = ["pretrain", data, "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*words, "--probe-every", "2"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "have no labels: give --probe-data LABELLED" in said
    assert main([*words, "--probe-data", "digits"]) == 2
    assert "give --probe-every N too" in " ".join(capsys.readouterr().err.split())
    one = write_npz(tmp_path / "one.npz", stripes[0], np.zeros(60, int))
    assert main([*words, "--probe-every", "2", "--probe-data", one]) == 2
    assert "expected two classes" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_a_budget_counts_the_probes() -> None:
    cost = Cost(step_s=1, steps_per_epoch=10, probe_s=4, probe_every=2)
    assert cost.training_s(5) == pytest.approx(5 * 11 + 3 * 4)
    assert cost.epochs_within(5 * 11 + 3 * 4) == 5
    assert cost.epochs_within(5 * 11 + 2 * 4) == 4
