from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from quarterturn import DataError, pretrain, probe
from quarterturn.data.selection import select_images, stratified_split
from quarterturn.data.sources import open_source
from quarterturn.runs import Run


def test_figures_for_halves_views_and_the_untrained_backbone(
    digits_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    result = probe(digits_run.path, "digits", kind="knn", limit=200, seeds=2)
    figures = result["figures"]
    assert set(figures) == {
        f"{origin}/{part}/knn-{k}/{view}"
        for origin in ("trained", "untrained")
        for part in ("rotation", "invariant", "both")
        for k in (20, 200)
        for view in ("upright", "turned")
    }
    one = figures["trained/both/knn-20/upright"]
    assert one["n"] == 2
    assert 0.5 < one["top1"]["mean"] <= 1
    by_seed = [seed["top1"] for seed in figures["trained/both/knn-20/turned"]["by_seed"]]
    turned = figures["trained/both/knn-20/turned"]["top1"]
    assert turned["mean"] == pytest.approx(np.mean(by_seed))
    assert turned["spread"] == pytest.approx(np.std(by_seed, ddof=1))
    assert set(one["by_seed"][0]["per_class"]) == set("0123456789")
    name = f"digits-{result['protocol_id']}.json"
    written = json.loads((digits_run.path / "probes" / name).read_text())
    assert written["figures"] == json.loads(json.dumps(figures))
    printed = capsys.readouterr().out
    assert "trained: invariant" in printed
    assert f"{100 * one['top1']['mean']:.1f}" in printed


def test_a_part_is_held_out_where_there_is_no_split(digits_run: Run, photos: Path) -> None:
    result = probe(digits_run.path, str(photos), workers=0, quiet=True)
    protocol = result["protocol"]
    assert (protocol["training_images"], protocol["test_images"]) == (48, 12)
    assert protocol["test"] == "a stratified 20% held out by seed"
    assert result["test_images_learned_from"] == 0
    assert result["figures"]["trained/both/linear/upright"]["top1"]["mean"] > 0.9


def test_data_without_labels_is_refused(digits_run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=np.zeros((9, 8, 8), np.uint8))
    with pytest.raises(DataError, match="has no labels to probe with"):
        probe(digits_run.path, str(tmp_path / "x.npz"), quiet=True)


def test_test_classes_that_training_lacks_are_named(
    digits_run: Run, photos: Path, tmp_path: Path
) -> None:
    for name in ("red", "green"):
        (tmp_path / name).symlink_to(photos / "red")
    with pytest.raises(DataError, match="the training images lack: green"):
        probe(digits_run.path, str(photos), test=str(tmp_path), workers=0, quiet=True)


def test_images_that_the_run_has_learned_from_are_counted(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"epochs": 1, "image_size": 16, "backbone": "convnet", "num_noise": 8, "workers": 0}
    run = pretrain(photos, out=tmp_path / "run", quiet=True, holdout=0.2, **settings)
    learned = set(select_images(str(photos), run.config.data).train.names)
    result = probe(run.path, photos, kind="knn", seeds=1, workers=0)
    source = open_source(str(photos)).train
    _, held = stratified_split(source.labels, 0.2, seed=0)
    expected = sum(source.names[i] in learned for i in held)
    assert 0 < expected < 12
    assert result["test_images_learned_from"] == expected
    assert f"learned from {expected} of the test images" in " ".join(
        capsys.readouterr().out.split()
    )


def test_one_class_is_refused(digits_run: Run, tmp_path: Path) -> None:
    arrays = {"train_images": np.zeros((9, 8, 8), np.uint8), "train_labels": np.zeros(9, int)}
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match="of one class alone"):
        probe(digits_run.path, tmp_path / "x.npz", quiet=True)
