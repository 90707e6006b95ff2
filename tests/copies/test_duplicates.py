from __future__ import annotations

import csv
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quarterturn import ConfigError, DataError, duplicates
from quarterturn.cli import main
from quarterturn.copies import duplicates as command
from quarterturn.copies import whole_pictures
from quarterturn.copies.duplicates import Duplicates
from quarterturn.errors import OutputError
from quarterturn.runs import Run
from tests.fixtures.photos import BROKEN, COPIES, NUM_READABLE, smooth


def rows(found: Duplicates) -> dict[str, dict[str, str]]:
    with open(found.table, newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def find(target: Path, out: Path, **options: Any) -> Duplicates:
    found = duplicates(target, out=out, workers=0, max_bad_fraction=0.5, **options)
    assert isinstance(found, Duplicates)
    return found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures, each with an exact copy and a larger one; and a picture by itself."""
    folder = tmp_path / "photos"
    (folder / "best").mkdir(parents=True)
    for number in (1, 2):
        smooth(number).save(folder / f"{number}.png")
        smooth(number).save(folder / f"{number} (copy).png")
        smooth(number, 64).save(folder / f"large {number}.png")
    smooth(3).save(folder / "best/3.png")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def found_in_treasure(treasure: Path, tmp_path_factory: pytest.TempPathFactory) -> Duplicates:
    return find(treasure, tmp_path_factory.mktemp("found") / "d.csv")


def test_copies_of_all_splits_are_listed(found_in_treasure: Duplicates) -> None:
    found = rows(found_in_treasure)
    first = found.pop("train/a/00.png")
    assert (first["kind"], first["keep"], first["width"]) == ("first", "yes", "48")
    unreadable = found.pop(BROKEN)
    assert unreadable["kind"] == "unreadable"
    assert "truncated" in unreadable["note"].lower()
    assert {name: (row["kind"], int(row["angle"])) for name, row in found.items()} == COPIES
    assert {row["keep"] for row in found.values()} == {"no"}
    assert {row["split"] for row in found.values()} == {"train", "test"}
    assert all(0.95 <= float(row["score"]) <= 1 for row in found.values())
    assert found_in_treasure.copies == {"exact": 1, "near": 1, "turned": 1, "mirrored": 1}


def test_figures_beside_the_table(found_in_treasure: Duplicates) -> None:
    figures = json.loads(found_in_treasure.figures.read_text())
    assert figures["images"] == NUM_READABLE
    assert figures["groups_across_splits"] == 1
    assert list(figures["unreadable"]) == [BROKEN]
    assert [copy["keep"] for copy in figures["groups"][0]] == [True, False, False, False, False]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("largest", {"large 1.png", "large 2.png"}),
        ("oldest", {"1 (copy).png", "large 2.png"}),
        ("FOLDER", {"1.png", "2.png", "2 (copy).png"}),
    ],
)
def test_which_image_is_kept(photos: Path, tmp_path: Path, keep: str, expected: set[str]) -> None:
    for number, path in enumerate(sorted(photos.glob("*.png"))):
        os.utime(path, (2_000_000_000 + number, 2_000_000_000 + number))
    os.utime(photos / "1 (copy).png", (1_500_000_000, 1_500_000_000))
    exif = Image.Exif()
    exif[306] = "2003:04:05 06:07:08"
    smooth(2, 64).save(photos / "large 2.png", exif=exif)
    if keep == "FOLDER":
        keep = str(photos / "kept")
        (photos / "kept").mkdir()
        for name in expected:
            (photos / name).rename(photos / "kept" / name)
        expected = {f"kept/{name}" for name in expected}
    found = rows(find(photos, tmp_path / "d.csv", keep=keep))
    assert {name for name, row in found.items() if row["keep"] == "yes"} == expected
    assert len(found) == 6


def test_of_equal_copies_the_shorter_name_is_kept(photos: Path, tmp_path: Path) -> None:
    for name in ("large 1.png", "large 2.png"):
        (photos / name).unlink()
    found = rows(find(photos, tmp_path / "d.csv"))
    assert {name for name, row in found.items() if row["keep"] == "yes"} == {"1.png", "2.png"}


def test_no_file_is_touched_unless_asked_to(photos: Path, tmp_path: Path) -> None:
    before = files(photos)
    found = find(photos, tmp_path / "d.csv")
    assert (found.moved, found.undo) == (0, None)
    assert files(photos) == before


def test_exact_copies_are_moved_and_moved_back(photos: Path, tmp_path: Path) -> None:
    before = files(photos)
    for name in ("large 1.png", "large 2.png"):
        (photos / name).rename(photos / "best" / name)
    smooth(1).save(photos / "best/copy.png")
    before = files(photos)
    out, moved = tmp_path / "d.csv", tmp_path / "moved"
    (moved / "best").mkdir(parents=True)
    (moved / "best/copy.png").write_text("mine")
    found = find(photos, out, move=moved, kinds=("exact", "near"))
    assert found.moved == 5
    assert set(files(photos)) == {"best/large 1.png", "best/large 2.png", "best/3.png"}
    assert (moved / "best/copy.png").read_text() == "mine"
    assert (moved / "best/copy-2.png").read_bytes() == before["best/copy.png"]
    assert rows(found)["best/copy.png"]["moved_to"] == str(moved / "best/copy-2.png")
    assert "moved/best/copy-2.png" in found.page.read_text()
    undone = duplicates(undo=found.undo)
    assert undone.moved == 5  # type: ignore[union-attr]
    assert files(photos) == before


def test_only_exact_copies_move_by_default(photos: Path, tmp_path: Path) -> None:
    found = find(photos, tmp_path / "d.csv", move=tmp_path / "moved")
    assert found.copies == {"exact": 2, "near": 2, "turned": 0, "mirrored": 0}
    assert set(files(tmp_path / "moved")) == {"1 (copy).png", "2 (copy).png", "undo.json"}
    again = find(photos, tmp_path / "e.csv", move=tmp_path / "moved")
    assert (again.moved, again.undo) == (0, None)


def test_links_are_no_copies_and_are_never_moved(photos: Path, tmp_path: Path) -> None:
    (photos / "a link.png").symlink_to("best/3.png")
    (tmp_path / "elsewhere").mkdir()
    smooth(3).save(tmp_path / "elsewhere/third.png")
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    found = find(photos, tmp_path / "d.csv", move=tmp_path / "moved")
    listed = rows(found)
    assert "a link.png" not in listed
    assert listed["best/3.png"]["keep"] == "yes"
    assert listed["linked/third.png"]["note"] == "a link: never moved"
    assert (tmp_path / "elsewhere/third.png").exists()
    assert (photos / "a link.png").is_symlink()


def test_what_could_not_be_moved_is_listed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.replace

    def refuse(source: Any, target: Any) -> None:
        if Path(source).name == "1 (copy).png":
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    for name in ("large 1.png", "large 2.png"):
        (photos / name).unlink()
    with pytest.raises(OutputError, match=r"1 image file could not be moved(.|\n)*1 \(copy\)"):
        find(photos, tmp_path / "d.csv", move=tmp_path / "moved")
    assert (photos / "1 (copy).png").exists()
    assert (tmp_path / "moved/2 (copy).png").exists()
    with open(tmp_path / "d.csv", newline="") as file:
        moved_to = {row["path"]: row["moved_to"] for row in csv.DictReader(file)}
    assert [name for name, place in moved_to.items() if place] == ["2 (copy).png"]


def test_a_run_keeps_its_pictures(
    digits_run: Run, treasure: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = find(digits_run.path, tmp_path / "a.csv", data=treasure)

    def refuse(*words: Any, **options: Any) -> None:
        raise AssertionError("a pass over the images")

    monkeypatch.setattr(whole_pictures, "evaluation_batches", refuse)
    again = find(digits_run.path, tmp_path / "b.csv", data=treasure)
    own = {name: row["kind"] for name, row in rows(first).items()}
    assert {name: row["kind"] for name, row in rows(again).items()} == own
    assert len(own) == len(COPIES) + 2


def test_results_of_a_run_are_in_the_run(digits_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "copies_in", lambda pictures, keep: [])
    found = duplicates(digits_run.path, workers=0)
    assert isinstance(found, Duplicates)
    assert found.table == digits_run.path / "duplicates.csv"
    assert found.page.is_file()
    with pytest.raises(ConfigError, match="no files of their own"):
        duplicates(digits_run.path, move=digits_run.path.parent / "moved")


def test_images_in_shards_and_arrays(photos: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        for path in sorted(photos.glob("*.png")):
            archive.add(path, path.name.replace(" ", "-"))
    found = find(tmp_path / "photos.tar", tmp_path / "d.csv")
    assert found.copies["exact"] == 2
    with pytest.raises(ConfigError, match="no files of their own"):
        find(tmp_path / "photos.tar", tmp_path / "e.csv", move=tmp_path / "moved")
    pixels = np.stack([np.asarray(smooth(number)) for number in (1, 2, 1, 3, 4, 5, 6, 7)])
    np.savez(tmp_path / "a.npz", train_images=pixels, test_images=pixels[:1])
    found = find(tmp_path / "a.npz", tmp_path / "f.csv")
    assert found.copies["exact"] == 2
    assert {row["split"] for row in rows(found).values()} == {"train", "test"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"move": "photos/moved"}, "is within"),
        ({"move": "file"}, "is a file"),
        ({"keep": "newest"}, "--keep newest is no folder"),
        ({"keep": "."}, None),
        ({"keep": "empty"}, "holds none of the images"),
        ({"kinds": ("similar",)}, "expected words out of exact, near, turned or mirrored"),
        ({"kinds": (), "move": "moved"}, "--kinds is empty"),
        ({"data": "photos"}, "is no run"),
        ({"out": "d.txt"}, "must end in .csv"),
        ({"out": "there.csv"}, "exists"),
        ({"undo": "undo.json"}, "leave PHOTOS out"),
    ],
)
def test_options_that_cannot_work(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    message: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "there.html").touch()
    (tmp_path / "empty").mkdir()
    before = files(photos)
    if message is None:
        duplicates("photos", workers=0, **options)
    else:
        with pytest.raises(ConfigError, match=message):
            duplicates("photos", **options)
    assert files(photos) == before


def test_nothing_is_written_among_the_photos(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos / "best")
    with pytest.raises(ConfigError, match=r"give --out FILE\.csv elsewhere"):
        duplicates("..", workers=0)
    assert duplicates("..", out=tmp_path / "d.csv", workers=0)


def test_the_command(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["duplicates", "photos", "--workers", "0"]) == 0
    said = capsys.readouterr()
    assert "no file was touched" in said.out + said.err
    assert main(["duplicates", "photos"]) == 2
    assert "duplicates.csv exists" in capsys.readouterr().err
    words = ["--overwrite", "--move", "moved", "--kinds", "exact", "near", "--workers", "0"]
    assert main(["duplicates", "photos", *words]) == 0
    assert len(files(tmp_path / "moved")) == 5
    assert main(["duplicates", "--undo", "moved/undo.json"]) == 0
    assert len(files(photos)) == 7
    assert main(["duplicates"]) == 2
    assert "expected PHOTOS or RUN, or --undo FILE" in capsys.readouterr().err
    assert main(["duplicates", "nowhere"]) == 2
    assert "nothing is at 'nowhere'" in capsys.readouterr().err


def test_nothing_there() -> None:
    with pytest.raises(DataError, match="nothing is at"):
        duplicates("/no/such/folder")
