from __future__ import annotations

import csv
import json
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path

import duckdb
import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
from PIL import Image

from quarterturn import ConfigError, embed, explore
from quarterturn.cli import main
from quarterturn.runs import Run
from tests.fixtures.photos import NUM_READABLE

COLUMNS = ["path", "name", "split", "label", "cluster", "turn_degrees", "x", "y", "vector"]
FOUND = COLUMNS[4:8]


@pytest.fixture(scope="module")
def table(digits_run: Run, treasure: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is written of an explored collection."""
    explore(digits_run.path, data=treasure, workers=0)
    out = tmp_path_factory.mktemp("embedded") / "x.parquet"
    return embed(digits_run.path, treasure, out=out, workers=0)


def explored(run: Run, treasure: Path) -> list[dict[str, str]]:
    folder = run.path / f"explore-{treasure.parent.name}-{treasure.name}"
    with open(folder / "collection.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["status"] == "read"]


def test_pandas_reads_what_explore_and_the_network_found(
    digits_run: Run, treasure: Path, table: Path, tmp_path: Path
) -> None:
    frame = pandas.read_parquet(table)
    assert list(frame.columns) == COLUMNS
    assert len(frame) == NUM_READABLE
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in frame["path"])
    arrays = np.load(embed(digits_run.path, treasure, out=tmp_path / "x.npz", workers=0))
    np.testing.assert_array_equal(np.stack(frame["vector"]), arrays["embeddings"])
    assert frame["name"].tolist() == arrays["names"].tolist()
    rows = explored(digits_run, treasure)
    assert (frame["split"] + "/" + frame["name"]).tolist() == [row["name"] for row in rows]
    for column in ("cluster", "x", "y"):
        expected = np.array([float(row[column]) for row in rows])
        np.testing.assert_allclose(frame[column].to_numpy(np.float64), expected, atol=1e-6)
    clear = [row["verdict"] == "upright" or row["verdict"].startswith("turn") for row in rows]
    assert frame["turn_degrees"].notna().tolist() == clear


def test_duckdb_searches_it(table: Path) -> None:
    query = f"""
        select b.name, list_cosine_similarity(a.vector, b.vector) as cosine
        from '{table}' a, '{table}' b
        where a.path like '%train/a/00.png' and b.path != a.path order by cosine desc limit 1
    """
    (name, cosine), *_ = duckdb.sql(query).fetchall()
    assert name == "b/exact.png"  # a copy of the image's bytes
    assert cosine == pytest.approx(1, abs=1e-6)
    per_split = duckdb.sql(f"select split, count(*) from '{table}' group by split").fetchall()
    assert sum(number for _, number in per_split) == NUM_READABLE
    assert {split for split, _ in per_split} == {"train", "test"}


def test_the_schema_says_what_the_vectors_are(digits_run: Run, treasure: Path, table: Path) -> None:
    schema = pq.read_schema(table)
    assert str(schema.field("vector").type) == "fixed_size_list<element: float>[128]"
    about = json.loads(schema.metadata[b"quarterturn"])
    assert about["run"] == str(digits_run.path.resolve())
    assert about["data"] == str(treasure)
    assert (about["features"], about["method"]) == ("invariant", "decoupling")
    assert about["quarterturn"] == version("quarterturn")


def test_without_explore_its_columns_are_empty(
    digits_run: Run, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        out = embed(digits_run.path, photos, out=tmp_path / "x.parquet", workers=0)
    assert pandas.read_parquet(out)[FOUND].isna().to_numpy().all()
    assert f"quarterturn explore {digits_run.path} --data {photos}, then embed" in caplog.text


def test_arrays_have_no_path(digits_run: Run, tmp_path: Path) -> None:
    frame = pandas.read_parquet(embed(digits_run.path, out=tmp_path / "x.parquet"))
    assert frame["path"].isna().all()
    assert set(frame["label"]) == set("0123456789")


def test_images_added_after_explore_have_empty_columns(
    digits_run: Run, tmp_path: Path, treasure: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in sorted((treasure / "train" / "a").glob("??.png")):
        (photos / file.name).write_bytes(file.read_bytes())
    explore(digits_run.path, data=photos, workers=0)
    Image.new("RGB", (20, 20), "red").save(photos / "zz.png")
    with caplog.at_level(logging.INFO):
        out = embed(digits_run.path, photos, out=tmp_path / "x.parquet", workers=0)
    frame = pandas.read_parquet(out)
    assert frame["cluster"].isna().tolist() == [name == "zz.png" for name in frame["name"]]
    assert "1 of 13 images are not in" in caplog.text

    table = next(digits_run.path.glob(f"explore-*{photos.parent.name}-photos/collection.csv"))
    os.utime(table, (0, 0))  # as if there were more epochs since
    with caplog.at_level(logging.INFO):
        out = embed(digits_run.path, photos, out=tmp_path / "y.parquet", workers=0)
    assert pandas.read_parquet(out)["cluster"].isna().all()
    assert "collection.csv is older than the weights" in caplog.text


def test_names_that_are_not_utf8_are_escaped(digits_run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(9):
        with open(os.fsencode(str(folder)) + b"/\xff%d.png" % i, "wb") as file:
            Image.new("RGB", (20, 20), (i, 0, 0)).save(file, "PNG")
    out = embed(digits_run.path, folder, out=tmp_path / "x.parquet", workers=0)
    assert pandas.read_parquet(out)["name"][0] == "\\udcff0.png"


def test_a_missing_pyarrow_is_named_first(
    digits_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    out = tmp_path / "x.parquet"
    with pytest.raises(ConfigError, match=r"pip install 'quarterturn\[parquet\]'"):
        embed(digits_run.path, out=out)
    assert main(["embed", str(digits_run.path), "--out", str(out)]) == 2
    assert "or give a file ending in .npz or .csv" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
