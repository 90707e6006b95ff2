from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quarterturn import ConfigError, orient
from quarterturn.cli import main
from quarterturn.data.image_file import read_image
from quarterturn.data.sources import open_source
from quarterturn.errors import OutputError
from quarterturn.orientation.predicted_turns import orient_images
from quarterturn.runs import Run
from tests.data.pictures import oriented, photo, save, save_photo, truncate
from tests.orientation.upright_runs import pretrained_run, sharp, upright_run

STORED = [0, 1, 2, 3, 1, 0, 1, 0, 0, 1]
"""Quarter turns, counter-clockwise, that the photos are stored by."""
SURE = [0.97] * 6 + [0.45, 0.3, 0.97, 0.97]
AGNOSTIC = np.array([0.1] * 7 + [0.9] + [0.1] * 2)
VERDICTS = [
    "upright",
    "turn 270",
    "turn 180",
    "turn 90",
    "turn 270",
    "upright",
    "unsure",
    "no clear up",
    "upright",
    "turn 270",
]


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Ten files in two folders, one of them with two pictures, and nine that are not known."""
    root = tmp_path / "photos"
    for i in range(9):
        name = root / "ab"[i // 5] / f"{i}.jpg"
        save(name, np.rot90(photo(i, 20, 24), STORED[i]), exif=oriented(1))
    Image.fromarray(photo(9, 20, 24)).save(
        root / "b" / "9.gif", save_all=True, append_images=[Image.fromarray(photo(10, 20, 24))]
    )
    return root


@pytest.fixture
def run(tmp_path: Path, collection: Path) -> Run:
    """A run of `upright` that knows how each is stored."""
    scores = np.concatenate([sharp([s], sure) for s, sure in zip(STORED, SURE, strict=True)])
    return upright_run(tmp_path / "run", str(collection), scores, AGNOSTIC)


def listed(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_every_image_is_listed(run: Run, collection: Path) -> None:
    result = orient(run.path, workers=0)
    rows = listed(run.path / "orient.csv")
    assert [row["path"] for row in rows[:2] + rows[9:]] == ["a/0.jpg", "a/1.jpg", "b/9.gif"]
    assert [row["index"] for row in rows] == [str(i) for i in range(10)]
    assert [row["verdict"] for row in rows] == VERDICTS
    degrees = [str(90 * ((4 - stored) % 4)) for stored in STORED]
    assert [row["turn_degrees"] for row in rows] == degrees
    found = orient_images(run, open_source(str(collection)).all_splits, str(collection)).reading
    sure = found.turns["train"].stored.max(axis=1)
    assert [row["probability"] for row in rows] == [f"{each:.4f}" for each in sure]
    assert sure[[0, 1]].min() > 0.99
    assert [float(row["agnostic"]) for row in rows] == pytest.approx(AGNOSTIC.tolist())
    assert {(row["split"], row["scored"]) for row in rows} == {("train", "out of fold")}
    assert [row["apply"] for row in rows] == ["yes" if "turn" in v else "no" for v in VERDICTS]
    assert len({row["file_version"] for row in rows}) == 10
    assert json.loads((run.path / "orient.json").read_text()) == result
    assert result["counts"] == {
        verdict: {"out of fold": VERDICTS.count(verdict)} for verdict in dict.fromkeys(VERDICTS)
    }
    assert (result["images"], result["written"]) == (10, None)
    assert sum(result["shares"]) == pytest.approx(1)
    assert result["accuracy"] > 0.9


def test_the_table_is_what_is_written(run: Run, terminal: pytest.CaptureFixture[str]) -> None:
    orient(run.path, workers=0, confidence=0.6)
    printed = terminal.readouterr()
    rows = [line.split("│")[1:-1] for line in printed.out.splitlines() if "│" in line]
    assert [[cell.strip() for cell in row] for row in rows[:5]] == [
        ["upright", "3", "30.0 %", "3"],
        ["turn 90", "1", "10.0 %", "1"],
        ["turn 180", "1", "10.0 %", "1"],
        ["turn 270", "4", "40.0 %", "4"],
        ["no clear up", "1", "10.0 %", "1"],
    ]
    assert [cell.strip() for cell in rows[7][:2]] == ["70.0 %", "5"]
    words = " ".join(printed.out.split())
    assert "agnostic score 0.5 or more, and the copies do not agree; unsure: a probability" in words
    assert "copies written" not in words
    said = " ".join(printed.err.split())
    page, table = run.path / "orient.html", run.path / "orient.csv"
    assert f"which way is up in 10 images, by {run.path} page to review: {page}" in said
    assert f"quarterturn orient {run.path} --apply {table} --write UPRIGHT" in said
    assert "Each image was scored by networks that have not learned from it." in said


def test_turned_copies_are_written_apart(
    run: Run, collection: Path, tmp_path: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in collection.rglob("*.*")}
    with pytest.raises(OutputError, match="1 of 5 copies could not be written, for the reasons"):
        orient(run.path, write=tmp_path / "copies", workers=0)
    assert files(tmp_path / "copies") == ["a/1.jpg", "a/2.jpg", "a/3.jpg", "a/4.jpg"]
    for i in range(1, 5):
        # Saved turned, and coded with loss: upright again to the pixel of the file.
        found = np.asarray(read_image(tmp_path / "copies" / "a" / f"{i}.jpg"))
        stored = np.asarray(read_image(collection / "a" / f"{i}.jpg"))
        np.testing.assert_array_equal(found, np.rot90(stored, -STORED[i]))
        assert abs(found.astype(float) - photo(i, 20, 24)).mean() < 12
    gif = str(collection / "b" / "9.gif")
    reason = "it holds 2 images, and only the first was read"
    assert json.loads((run.path / "orient.json").read_text())["written"] == {
        "folder": str(tmp_path / "copies"),
        "turned": 4,
        "copied": 0,
        "left_out": {gif: reason},
    }
    printed = terminal.readouterr()
    assert f"{gif}: {reason}" in printed.err
    words = " ".join(printed.out.split())
    assert "4 turned and 0 plain copies written, 1 could not be written" in words
    assert {path: path.read_bytes() for path in collection.rglob("*.*")} == before


def test_all_copies_are_written_where_asked(run: Run, collection: Path, tmp_path: Path) -> None:
    (collection / "b" / "9.gif").unlink()
    result = orient(run.path, collection, write=tmp_path / "copies", write_all=True, workers=0)
    assert (result["written"]["turned"], result["written"]["copied"]) == (4, 5)
    names = [f"{'ab'[i // 5]}/{i}.jpg" for i in range(9)]
    assert files(tmp_path / "copies") == names
    same = [
        (collection / name).read_bytes() == (tmp_path / "copies" / name).read_bytes()
        for name in names
    ]
    assert same == [not verdict.startswith("turn") for verdict in VERDICTS[:9]]


def test_new_and_unreadable_images_are_counted(
    run: Run, tmp_path: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    for i in range(40):
        save_photo(other / f"{i:02d}.jpg", i, 60, 64)
    truncate(other / "03.jpg")
    (other / "no picture.png").write_text("no picture")
    (other / "link.jpg").symlink_to(tmp_path / "photos" / "a" / "3.jpg")
    out, copies = tmp_path / "x", tmp_path / "copies"
    result = orient(run.path, other, out=out, write=copies, write_all=True, workers=0)
    scored = [way for of_verdict in result["counts"].values() for way in of_verdict.items()]
    assert sum(number for way, number in scored if way == "new") == 39
    assert result["counts"]["unreadable"] == {"not": 2}
    assert result["counts"]["cannot tell yet"] == {"new": 39, "out of fold": 1}
    assert result["images"] == 42
    rows = listed(out / "orient.csv")
    assert [row["path"] for row in rows if row["verdict"] == "unreadable"] == [
        "03.jpg",
        "no picture.png",
    ]
    assert rows[3].pop("file_version").startswith("v")
    assert set(rows[3].values()) == {"3", "03.jpg", "train", "", "unreadable", "no"}
    assert not {"03.jpg", "no picture.png"} & set(files(copies))
    assert "link.jpg" in files(copies)
    assert not (copies / "link.jpg").is_symlink()
    assert json.loads((out / "orient.json").read_text()) == result
    lines = [line.split("│") for line in terminal.readouterr().out.splitlines() if "│" in line]
    assert [cell.strip() for cell in lines[-1][1:-1]] == ["unreadable", "2", "4.8 %", "0", "0"]


def test_in_sample_is_said_everywhere(
    tmp_path: Path, collection: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    run = pretrained_run(tmp_path / "pretrained", str(collection))
    result = orient(run.path, workers=0)
    caveat = "The network has learned from 10 of the 10 images"
    assert result["caveat"].startswith(caveat)
    assert {row["scored"] for row in listed(run.path / "orient.csv")} == {"in sample"}
    assert {way for of_verdict in result["counts"].values() for way in of_verdict} == {"in sample"}
    printed = terminal.readouterr()
    assert "in sample: the network has learned from the image" in " ".join(printed.out.split())
    assert caveat in " ".join(printed.err.split())
    assert caveat in (run.path / "orient.html").read_text()
    # With a run of `upright` within, it is asked.
    inner = upright_run(run.path / "upright", str(collection))
    result = orient(run.path, workers=0)
    assert result["oriented_by"] == str(inner.path)
    assert result["counts"] == {"upright": {"out of fold": 10}}
    assert listed(run.path / "orient.csv")[0]["verdict"] == "upright"


def test_networks_that_cannot_tell_list_nothing(
    tmp_path: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    for i in range(40):
        save_photo(tmp_path / "photos" / f"{i:02d}.png", i, 20, 24)
    chance = np.random.default_rng(0).dirichlet(np.full(4, 0.3), (40, 4)).astype(np.float32)
    run = upright_run(tmp_path / "run", str(tmp_path / "photos"), chance)
    result = orient(run.path, workers=0)
    assert result["counts"] == {"cannot tell yet": {"out of fold": 40}}
    assert result["accuracy"] < 0.5
    assert "The network cannot tell yet which way is up" in " ".join(
        terminal.readouterr().err.split()
    )
    page = (run.path / "orient.html").read_text()
    assert "needs more epochs or trained weights" in page
    assert 'type="checkbox"' not in page


def test_it_is_said_that_the_runs_data_is_gone(
    run: Run, collection: Path, tmp_path: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    for i in range(8):
        save_photo(tmp_path / "other" / f"{i}.jpg", i, 20, 24)
    collection.rename(tmp_path / "away")
    result = orient(run.path, tmp_path / "other", workers=0)
    assert not result["learned_is_known"]
    assert "the run's data is not at hand" in " ".join(terminal.readouterr().out.split())


def test_names_that_are_not_utf8(tmp_path: Path, terminal: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(9):
        with open(os.fsencode(str(folder)) + b"/\xff%d.gif" % i, "wb") as file:
            first, second = (Image.fromarray(photo(seed, 20, 24)) for seed in (i, i + 1))
            first.save(file, "GIF", save_all=True, append_images=[second])
    run = upright_run(tmp_path / "run", str(folder), sharp([1] * 9))
    with pytest.raises(OutputError, match="9 of 9 copies could not be written"):
        orient(run.path, out=tmp_path / "x", write=tmp_path / "copies", workers=0)
    assert b"\n0,\xff0.gif,train,out of fold,270," in (tmp_path / "x" / "orient.csv").read_bytes()
    assert "\\udcff0.gif: it holds 2 images" in terminal.readouterr().err


def test_what_is_refused(run: Run, collection: Path, tmp_path: Path) -> None:
    def refused(match: str, data: Any = None, **options: Any) -> None:
        with pytest.raises(ConfigError, match=match):
            orient(run.path, data, **options)

    refused(r"--agnostic is 1\.5; expected from 0 to 1", agnostic=1.5)
    refused("--confidence is -1.0; expected from 0 to 1", confidence=-1)
    refused("--write-all needs --write DIR", write_all=True)
    refused(r"--apply .*x\.csv needs --write DIR", apply=tmp_path / "x.csv")
    refused(r"--out .*x\.csv: expected a folder, in which", out=tmp_path / "x.csv")
    refused("--in-sample is no longer needed", in_sample=True)
    refused("which holds originals", write=collection / "upright")
    refused("digits holds pixels, not image files", "digits", write=tmp_path / "copies")
    (tmp_path / "file").touch()
    refused("is a file; expected a folder", out=tmp_path / "file")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "orient.json").write_text("mine")
    refused(r"orient\.json exists", out=tmp_path / "x")
    assert (tmp_path / "x" / "orient.json").read_text() == "mine"
    for weights in (tmp_path / "file", "timm:resnet18"):
        with pytest.raises(ConfigError, match=f"quarterturn upright DATA --from {weights}, and"):
            orient(weights)
    orient(run.path, out=tmp_path / "x", overwrite=True)
    assert json.loads((tmp_path / "x" / "orient.json").read_text())["images"] == 10


def test_the_command(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos" / "b" / "9.gif").unlink()
    photos = str(tmp_path / "photos")
    words = ["orient", str(run.path), photos, "--write", str(tmp_path / "copies"), "--workers", "0"]
    assert main([*words, "--confidence", "0.5"]) == 0
    assert "Which way is up: photos, by" in " ".join(capsys.readouterr().out.split())
    assert files(tmp_path / "copies") == [f"a/{i}.jpg" for i in range(1, 5)] + ["b/6.jpg"]
    assert main(words) == 2
    assert "is not empty; choose another folder" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert main(["orient", str(tmp_path)]) == 2
    assert "no config.json" in capsys.readouterr().err
