from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quarterturn import ConfigError, embed, load_backbone, pretrain
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.sources import open_source
from quarterturn.runs import Run


def test_npz_holds_the_invariant_half_of_every_image(digits_run: Run, tmp_path: Path) -> None:
    out = embed(digits_run.path, out=tmp_path / "digits.npz")
    found = np.load(out, allow_pickle=False)
    assert found["embeddings"].shape == (1797, 128)
    assert found["embeddings"].dtype == np.float32
    assert found["names"].dtype.kind == found["splits"].dtype.kind == "U"
    source = open_source("digits")
    assert found["names"].tolist() == [*source.train.names, *source.test.names]
    assert (found["splits"] == "test").sum() == 450
    np.testing.assert_array_equal(found["labels"][:1347], source.train.labels)

    backbone = load_backbone(digits_run.path)
    batch = next(evaluation_batches(source.train, digits_run.config.data))
    with torch.no_grad():
        whole = backbone(batch.images).numpy()
    np.testing.assert_allclose(found["embeddings"][: len(whole)], whole[:, 128:], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "width"),
    [({"half": "rotation"}, 128), ({"half": "both"}, 256), ({"layer": "conv2"}, 64)],
)
def test_parts_and_layers(
    digits_run: Run, tmp_path: Path, options: dict[str, str], width: int
) -> None:
    out = embed(digits_run.path, out=tmp_path / "x.npz", **options)
    assert np.load(out)["embeddings"].shape == (1797, width)


def test_csv_has_the_same_numbers(digits_run: Run, photos: Path, tmp_path: Path) -> None:
    arguments = {"workers": 0}
    embed(digits_run.path, str(photos), out=tmp_path / "x.csv", **arguments)
    embed(digits_run.path, str(photos), out=tmp_path / "x.npz", **arguments)
    arrays = np.load(tmp_path / "x.npz")
    with open(tmp_path / "x.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert rows[0]["name"] == "blue/00.png"
    assert {row["label"] for row in rows} == {"blue", "red"}
    values = np.array([[float(row[f"f{i}"]) for i in range(128)] for row in rows])
    np.testing.assert_allclose(values, arrays["embeddings"], rtol=1e-6)


def test_what_is_refused(digits_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.npz or \.csv or \.parquet"):
        embed(digits_run.path, out=tmp_path / "x.json")
    with pytest.raises(ConfigError, match="no layers conv9; the backbone has conv1, conv2"):
        embed(digits_run.path, out=tmp_path / "x.npz", layer="conv9")
    (tmp_path / "x.csv").write_text("mine")
    with pytest.raises(ConfigError, match="exists"):
        embed(digits_run.path, out=tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == "mine"


def test_splits_that_number_their_classes_differently(digits_run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, classes in [("train", "abc"), ("test", "bd")]:
        for name in classes:
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    out = embed(digits_run.path, str(tmp_path / "data"), out=tmp_path / "x.npz", workers=0)
    found = np.load(out)
    assert found["class_names"].tolist() == ["a", "b", "c", "d"]
    for name, label in zip(found["names"], found["labels"], strict=True):
        assert found["class_names"][label] == name.split("/")[0]


def test_names_that_are_not_utf8(digits_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(9):
        name = os.fsencode(str(folder)) + b"/\xff%d.png" % i
        with open(name, "wb") as file:
            pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file, "PNG")
    arguments = {"workers": 0}
    out = embed(digits_run.path, str(folder), out=tmp_path / "x.csv", **arguments)
    assert b"\n\xff0.png,train,," in out.read_bytes()
    settings = {"epochs": 1, "image_size": 16, "backbone": "convnet"}
    run = pretrain(str(folder), out=tmp_path / "run", **settings, **arguments)
    assert b"\xff0.png,20,20,trained on" in (run.path / "items.csv").read_bytes()


def test_a_split_without_labels_takes_none_away_from_the_others(
    digits_run: Run, tmp_path: Path
) -> None:
    pixels = open_source("digits").train.pixels
    np.savez(
        tmp_path / "x.npz",
        train_images=pixels[:9],
        train_labels=np.arange(9) % 3,
        val_images=pixels[9:12],
        val_labels=np.arange(3),
        test_images=pixels[12:14],
    )
    for suffix in (".npz", ".csv"):
        embed(digits_run.path, tmp_path / "x.npz", out=tmp_path / f"y{suffix}")
    arrays = np.load(tmp_path / "y.npz")
    assert arrays["splits"].tolist() == ["train"] * 9 + ["val"] * 3 + ["test"] * 2
    expected = [0, 1, 2] * 4 + [-1, -1]
    assert arrays["labels"].tolist() == expected
    with open(tmp_path / "y.csv", newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    assert labels == ["" if label < 0 else str(label) for label in expected]
