"""Shards of the same files as a folder: the same bits, and every command knows their images."""

import csv
from pathlib import Path

import numpy as np
import pytest

from quarterturn import cache, embed, neighbors, pretrain
from quarterturn.data import archive_index
from quarterturn.data.sources import open_source
from quarterturn.runs import Run

from ..data.shards import as_structs, image_and_label, sample, write_parquet, write_tar
from ..engine.equality import assert_same_checkpoint

pytest.importorskip("pyarrow")

SMALL = {
    "image_size": 16,
    "preset": "digits",
    "epochs": 1,
    "batch_size": 20,
    "num_noise": 16,
    "device": "cpu",
    "workers": 0,
    "diagnostics": False,
}


@pytest.fixture(scope="module")
def data(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The photos as they are, in two archives, and in two parquet files."""
    root = tmp_path_factory.mktemp("data")
    (root / "folder").symlink_to(photos)
    files = sorted(photos.rglob("*.png"))
    half = len(files) // 2
    for number, part in enumerate((files[:half], files[half:])):
        of = [file.parent.name for file in part]
        members = [m for f, label in zip(part, of, strict=True) for m in sample(f.stem, f, label)]
        write_tar(root / "tar" / f"photos-{number:03d}.tar", members)
        columns = {"image": as_structs(part), "label": [number] * half}
        name = f"train-{number:05d}-of-00002.parquet"
        write_parquet(root / "parquet" / name, columns, image_and_label(["blue", "red"]))
    return {kind: root / kind for kind in ("folder", "tar", "parquet")}


@pytest.fixture(scope="module")
def runs(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    out = tmp_path_factory.mktemp("runs")
    return {kind: pretrain(place, out=out / kind, **SMALL) for kind, place in data.items()}


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_pretraining_ends_in_the_same_bits(runs, kind):
    assert_same_checkpoint(runs[kind].path, runs["folder"].path)


def test_images_are_named_by_shard(runs):
    with (runs["tar"].path / "items.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert rows[0]["path"].startswith("photos-000.tar/")
    assert {row["height"] for row in rows} == {"40"}


def test_a_finished_run_finds_archives_in_its_index(runs, data, monkeypatch, tmp_path):
    def refuse(path: str) -> None:
        pytest.fail(f"{path} is read again")

    monkeypatch.setattr(archive_index, "read_tar", refuse)
    run = runs["tar"]
    out = tmp_path / "x.npz"
    embed(run.path, data["tar"], out=out, device="cpu")
    embed(runs["folder"].path, data["folder"], out=tmp_path / "y.npz", device="cpu")
    with np.load(out) as tar, np.load(tmp_path / "y.npz") as folder:
        assert tar.files == folder.files
        found = {key for key in tar.files if not np.array_equal(tar[key], folder[key])}
        assert found <= {"names", "images"}  # which say where they are
    result = neighbors(run.path, "photos-001.tar/07.png", device="cpu", k=3)
    assert result["searched"] == 60
    assert result["label"] == "red"


def test_a_cache_of_shards_is_that_of_the_folder(data, tmp_path):
    for kind, place in data.items():
        cache(place, out=tmp_path / kind, side=16, workers=0)
    assert len({(tmp_path / kind / "pixels.bin").read_bytes() for kind in data}) == 1
    found = open_source(str(tmp_path / "parquet")).train
    assert found.labels.tolist() == [0] * 30 + [1] * 30
    identity = open_source(str(data["parquet"])).train.identity(3, "")
    assert found.identity(3, "") == identity
