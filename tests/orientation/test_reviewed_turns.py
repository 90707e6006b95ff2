from __future__ import annotations

import csv
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from quarterturn import orient
from quarterturn.data.image_file import read_image
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError, OutputError
from quarterturn.orientation.reviewed_turns import read_reviewed
from quarterturn.orientation.turn_table import COLUMNS, file_version
from quarterturn.runs import Run
from tests.data.pictures import photo, save_photo
from tests.orientation.upright_runs import sharp, upright_run

STORED = [1, 0, 2, 0, 3, 0, 0, 0, 0, 0]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for i in range(10):
        save_photo(tmp_path / "photos" / f"{i}.png", i, 20, 24)
    return tmp_path / "photos"


@pytest.fixture
def source(photos: Path) -> Source:
    return open_source(str(photos))


@pytest.fixture
def run(tmp_path: Path, photos: Path) -> Run:
    return upright_run(tmp_path / "run", str(photos), sharp(STORED))


def written(path: Path, source: Source, *rows: tuple[str, str, str], **others: str) -> Path:
    """A csv with the name, turn and answer of some images; each is as it is now."""
    names = list(source.train.names)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, delimiter=others.pop("separator", ","))
        table.writeheader()
        for name, degrees, answer in rows:
            version = file_version(source.train, names.index(name)) if name in names else "v0"
            cells = {"path": name, "split": "train", "turn_degrees": degrees, "apply": answer}
            table.writerow({**cells, "file_version": version, **others})
    return path


def refused(match: str, path: Path, source: Source) -> None:
    with pytest.raises(DataError, match=match):
        read_reviewed(path, source)


def test_answers_say_what_is_turned(tmp_path: Path, source: Source) -> None:
    path = written(
        tmp_path / "x.csv",
        source,
        *[("3.png", "90", "yes"), ("1.png", "270", "no"), ("4.png", "180.0", "TRUE")],
        *[("0.png", "-90", "Yes"), ("5.png", "0", "yes"), ("6.png", "", "no")],
    )
    assert read_reviewed(path, source) == {"train": {3: 1, 4: 2, 0: 3}}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_spreadsheets_of_other_countries(tmp_path: Path, source: Source, separator: str) -> None:
    path = written(tmp_path / "x.csv", source, ("3.png", "90,0", "yes"), separator=separator)
    path.write_bytes("\ufeff".encode() + path.read_bytes())
    assert read_reviewed(path, source) == {"train": {3: 1}}


def test_nonsense_is_refused_in_words(tmp_path: Path, source: Source) -> None:
    path = tmp_path / "x.csv"
    for degrees in ("45", "a quarter", "inf"):
        written(path, source, ("3.png", degrees, "yes"))
        refused(f"line 2: turn_degrees of 3.png is '{degrees}'; expected 0, 90, 180", path, source)
    written(path, source, ("3.png", "90", "maybe"))
    refused("line 2: apply of 3.png is 'maybe'; expected yes or no", path, source)
    written(path, source, ("3.png", "90", "yes"), ("3.png", "180", "yes"))
    refused("line 3: 3.png is to be turned in two ways", path, source)
    path.write_text("path,label\n3.png,cat\n")
    refused("has no column split and no column turn_degrees", path, source)
    path.write_text("")
    refused("has no column path", path, source)
    refused("there is no such file", tmp_path / "none.csv", source)


def test_other_images_are_refused(tmp_path: Path, source: Source) -> None:
    rows = [(f"other-{i}.png", "90", "yes") for i in range(7)]
    path = written(tmp_path / "x.csv", source, *rows, ("3.png", "90", "yes"))
    refused(r"about other images: other-0\.png, .* and 2 more are not in photos", path, source)
    written(path, source, ("gone.png", "90", "no"), ("3.png", "90", "yes"))
    assert read_reviewed(path, source) == {"train": {3: 1}}
    written(path, source, ("3.png", "90", "yes"), split="test")
    refused(r"3\.png is not in photos", path, source)


def test_changed_files_are_refused(tmp_path: Path, photos: Path, source: Source) -> None:
    path = written(tmp_path / "x.csv", source, ("3.png", "90", "yes"), ("4.png", "90", "no"))
    os.utime(photos / "4.png", (1, 1))
    assert read_reviewed(path, source) == {"train": {3: 1}}
    os.utime(photos / "3.png", (1, 1))
    refused(r"out of date: 3\.png has changed since. Nothing was written", path, source)


def test_what_was_reviewed_is_written(run: Run, photos: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in photos.iterdir()}
    table = Path(orient(run.path, workers=0)["table"])
    lines = table.read_text().replace(",turn 90,yes", ",turn 90,no").splitlines()
    assert [line.split(",")[1] for line in lines if ",yes," in line] == ["0.png", "2.png"]
    # A photo that the network took to be upright is turned by hand.
    lines[2] = lines[2].replace(",0,", ",180,", 1).replace(",no,", ",yes,")
    table.write_text("\n".join(lines))
    result = orient(run.path, apply=table, write=tmp_path / "copies", workers=0)
    assert (result["written"]["turned"], result["written"]["left_out"]) == (3, {})
    assert sorted(path.name for path in (tmp_path / "copies").iterdir()) == [
        "0.png",
        "1.png",
        "2.png",
    ]
    for number, turns in [(0, 3), (1, 2), (2, 2)]:
        found = np.asarray(read_image(tmp_path / "copies" / f"{number}.png"))
        np.testing.assert_array_equal(found, np.rot90(photo(number, 20, 24), turns))
    every = orient(run.path, apply=table, write=tmp_path / "all", write_all=True, workers=0)
    assert (every["written"]["turned"], every["written"]["copied"]) == (3, 7)
    assert {path: path.read_bytes() for path in photos.iterdir()} == before


def test_images_of_shards_are_written_as_files(run: Run, photos: Path, tmp_path: Path) -> None:
    long = "n" * 300 + ".png"
    shard = tmp_path / "shards" / "a.tar"
    shard.parent.mkdir()
    with tarfile.open(shard, "w") as archive:
        for i in range(10):
            archive.add(photos / f"{i}.png", f"kitchen/{i}.png" if i else long)
    data = str(tmp_path / "shards")
    source = open_source(data)
    rows = [(name, "90", "yes") for name in source.train.names[:3]]
    path = written(tmp_path / "x.csv", source, *rows)
    with pytest.raises(
        OutputError, match=r"1 of 3 copies could not be written, .* the other 2 are"
    ):
        orient(run.path, data, apply=path, write=tmp_path / "copies", workers=0)
    copies = sorted((tmp_path / "copies").rglob("*.png"))
    assert [copy.name for copy in copies] == ["1.png", "2.png"]
    found = np.asarray(read_image(copies[0]))
    np.testing.assert_array_equal(found, np.rot90(photo(1, 20, 24)))
    with pytest.raises(OutputError, match="1 of 10 copies"):
        orient(run.path, data, apply=path, write=tmp_path / "w", write_all=True, workers=0)
    same = next((tmp_path / "w").rglob("7.png"))
    assert same.read_bytes() == (photos / "7.png").read_bytes()
