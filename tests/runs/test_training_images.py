from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from quarterturn.data.imageset import ImageSet
from quarterturn.data.selection import select_images
from quarterturn.data.sources import open_source
from quarterturn.data.train_test_split import TrainTestSplit, open_training_data
from quarterturn.presets import preset
from quarterturn.runs import Run
from quarterturn.runs.training_images import count_trained_on


def counted(total: int | None, with_labels: int | None) -> dict[str, int | None]:
    return {"test_images_learned_from": total, "test_images_learned_with_labels": with_labels}


@pytest.fixture
def data(tmp_path: Path) -> str:
    """240 images of noise in two classes, and no test split."""
    pixels = np.random.default_rng(0).integers(0, 256, (240, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", train_images=pixels, train_labels=np.arange(240) % 2)
    return str(tmp_path / "x.npz")


@pytest.fixture
def images(data: str) -> ImageSet:
    return open_source(data).train


def made(path: Path, data: str | None, kind: str, start: str | None = None, **settings) -> Run:
    """A run that nobody has trained, which says that it has learned from DATA."""
    config = preset("digits").with_settings(image_size=8, holdout=0.2, **settings)
    run = Run(path, data, config, None, kind, start)
    run.create()
    return run


def test_a_classifier_learns_from_the_part_of_its_seed(
    tmp_path: Path, data: str, images: ImageSet
) -> None:
    run = made(tmp_path / "run", data, "finetune", method="classifier", seed=1)
    split = open_training_data(data, run.config.data)
    (learned, own), (_, others) = split.parts(1), split.parts(2)
    assert count_trained_on(run, images, data) == counted(192, 192)
    assert count_trained_on(run, images.subset(own), data) == counted(0, 0)
    both = len(set(learned) & set(others))
    assert 0 < both < 48
    tests = TrainTestSplit.of(split, 2).test
    assert count_trained_on(run, tests, data) == counted(both, both)
    assert count_trained_on(run, tests, str(tmp_path / "other.npz")) == counted(0, 0)


def test_pretraining_reads_labels_where_it_counts_them(
    tmp_path: Path, data: str, images: ImageSet
) -> None:
    plain = made(tmp_path / "plain", data, "pretrain")
    assert count_trained_on(plain, images, data) == counted(192, 0)
    settings = {"balance_semantic": True, "counts": "labels"}
    told = made(tmp_path / "told", data, "pretrain", **settings)
    assert count_trained_on(told, images, data) == counted(192, 192)


def test_images_of_the_first_run_count_too(tmp_path: Path, data: str, images: ImageSet) -> None:
    first = made(tmp_path / "first", data, "pretrain")
    second = made(
        tmp_path / "second", data, "finetune", str(first.path), method="classifier", limit=100
    )
    seen = set(select_images(data, first.config.data).train.names)
    labelled = set(TrainTestSplit.of(open_training_data(data, second.config.data), 0).train.names)
    assert count_trained_on(second, images, data) == counted(len(seen | labelled), 80)
    shutil.rmtree(first.path)
    assert count_trained_on(second, images, data) == counted(None, None)


def test_what_is_gone_is_not_known(tmp_path: Path, data: str, images: ImageSet) -> None:
    imported = made(tmp_path / "imported", None, "import")
    assert count_trained_on(imported, images, data) == counted(None, None)
    gone = made(tmp_path / "gone", str(tmp_path / "gone.npz"), "pretrain")
    assert count_trained_on(gone, images, data) == counted(None, None)
