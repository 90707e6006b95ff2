from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from quarterturn import DataError
from quarterturn.copies import file_moves
from quarterturn.copies.file_moves import (
    move_all,
    move_file,
    planned,
    undo_moves,
    write_undo_file,
)
from quarterturn.errors import OutputError

NAMES = ("a.jpg", "b/a.jpg", "b/c/d.jpg")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"contents of {name}")
    return folder


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "undo.json")
    return {str(path.relative_to(folder)): path.read_text() for path in files}


def plan(photos: Path, folder: Path) -> Path:
    """The undo file of moving all photos."""
    targets = planned({photos / name: name for name in NAMES}, folder)
    return write_undo_file(targets, folder)


def test_files_keep_their_folders_and_move_back(photos: Path, tmp_path: Path) -> None:
    before = contents(photos)
    undo_file = plan(photos, tmp_path / "copies")
    assert contents(photos) == before  # written down before anything moves
    assert move_all(undo_file) == {}
    assert contents(photos) == {}
    assert contents(undo_file.parent) == before
    undone = undo_moves(undo_file)
    assert (undone.moved, undone.in_place, undone.failed) == (3, 0, {})
    assert contents(photos) == before
    assert list(undo_file.parent.iterdir()) == [undo_file]  # and no empty folders
    undone = undo_moves(undo_file)
    assert (undone.moved, undone.in_place, undone.failed) == (0, 3, {})


def test_names_that_are_taken_get_a_number(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    (folder / "b").mkdir(parents=True)
    (folder / "a.jpg").write_text("mine")
    (folder / "a-2.jpg").write_text("mine too")
    (folder / "undo.json").write_text("{}")
    undo_file = plan(photos, folder)
    assert undo_file.name == "undo-2.json"
    assert (folder / "undo.json").read_text() == "{}"
    assert move_all(undo_file) == {}
    assert (folder / "a.jpg").read_text() == "mine"
    assert (folder / "a-3.jpg").read_text() == "contents of a.jpg"
    assert undo_moves(undo_file).moved == 3
    assert (folder / "a-2.jpg").read_text() == "mine too"


def test_names_that_differ_in_case_do_not_meet(photos: Path, tmp_path: Path) -> None:
    (photos / "A.jpg").write_text("another")
    files = {photos / name: name for name in ("a.jpg", "A.jpg")}
    targets = planned(files, tmp_path / "copies")
    assert [path.name for path in targets.values()] == ["a.jpg", "A-2.jpg"]


@pytest.mark.parametrize("name", ["../../x/y.jpg", "/elsewhere/x/y.jpg"])
def test_no_name_leads_out_of_the_folder(photos: Path, tmp_path: Path, name: str) -> None:
    [target] = planned({photos / "a.jpg": name}, tmp_path / "copies").values()
    assert target == tmp_path / "copies/elsewhere/x/y.jpg"


def test_long_names_are_cut_for_their_number(photos: Path, tmp_path: Path) -> None:
    name = "é" * 125 + ".jpg"
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / name).write_text("mine")
    [target] = planned({photos / "a.jpg": name}, tmp_path / "copies").values()
    assert len(os.fsencode(target.name)) <= 255
    assert target.name.endswith("-2.jpg")


def test_nothing_is_written_over(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "taken.jpg"
    target.write_text("mine")
    with pytest.raises(FileExistsError):
        move_file(photos / "a.jpg", target)
    assert target.read_text() == "mine"
    assert contents(photos)["a.jpg"] == "contents of a.jpg"


def test_name_that_is_taken_meanwhile_leaves_the_file(photos: Path, tmp_path: Path) -> None:
    undo_file = plan(photos, tmp_path / "copies")
    (tmp_path / "copies/a.jpg").write_text("mine")
    failed = move_all(undo_file)
    assert list(failed) == [photos / "a.jpg"]
    assert contents(photos) == {"a.jpg": "contents of a.jpg"}
    assert (tmp_path / "copies/a.jpg").read_text() == "mine"


def test_file_that_has_changed_is_not_moved(photos: Path, tmp_path: Path) -> None:
    undo_file = plan(photos, tmp_path / "copies")
    (photos / "a.jpg").write_text("something longer than it was before")
    assert move_all(undo_file) == {photos / "a.jpg": "it has changed since it was looked at"}
    assert set(contents(photos)) == {"a.jpg"}


def refuse_renames(monkeypatch: pytest.MonkeyPatch, number: int, below: Path) -> None:
    """As if ``below`` were another disk, or a folder that may not be changed."""
    rename = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(source).is_relative_to(below) != Path(target).is_relative_to(below):
            raise OSError(number, os.strerror(number))
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)


def test_another_disk_gets_copies_with_their_times(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(photos)
    os.utime(photos / "a.jpg", (1_000_000_000, 1_000_000_000))
    undo_file = plan(photos, tmp_path / "copies")
    refuse_renames(monkeypatch, errno.EXDEV, undo_file.parent)
    assert move_all(undo_file) == {}
    assert (contents(photos), contents(undo_file.parent)) == ({}, before)
    assert (undo_file.parent / "a.jpg").stat().st_mtime == 1_000_000_000
    assert undo_moves(undo_file).moved == 3
    assert contents(photos) == before


def test_files_of_a_read_only_folder_stay_and_are_listed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(photos)
    undo_file = plan(photos, tmp_path / "copies")
    refuse_renames(monkeypatch, errno.EACCES, undo_file.parent)
    assert move_all(undo_file) == {photos / name: "Permission denied" for name in NAMES}
    assert contents(photos) == before
    assert contents(undo_file.parent) == {}
    assert undo_moves(undo_file).in_place == 3


def test_full_disk_stops_the_moves_and_loses_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(photos)
    undo_file = plan(photos, tmp_path / "copies")
    refuse_renames(monkeypatch, errno.EXDEV, undo_file.parent)
    copy, calls = file_moves.shutil.copy2, []

    def full(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            target.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")
        copy(source, target)

    monkeypatch.setattr(file_moves.shutil, "copy2", full)
    with pytest.raises(OutputError, match=r"1 of 3 files were moved.*--undo") as caught:
        move_all(undo_file)
    assert str(undo_file) in str(caught.value)
    assert contents(photos) | contents(undo_file.parent) == before
    assert undo_moves(undo_file).moved == 1
    assert contents(photos) == before


def test_whatever_an_interrupted_move_left_is_undone(photos: Path, tmp_path: Path) -> None:
    before = contents(photos)
    undo_file = plan(photos, tmp_path / "copies")
    folder = undo_file.parent
    (folder / "a.jpg").touch()  # killed when it had only the name
    (folder / "a.jpg.0123456789ab.partial").write_text("half of it")  # ... or half of a copy
    (folder / "b").mkdir()
    (folder / "b/a.jpg").write_text(before["b/a.jpg"])  # ... or a copy of a file still there
    undone = undo_moves(undo_file)
    assert (undone.moved, undone.in_place, undone.failed) == (0, 3, {})
    assert contents(photos) == before
    assert contents(folder) == {}


MOVE = """
import sys
from pathlib import Path
from quarterturn.copies.file_moves import move_all, planned, write_undo_file
photos, folder = map(Path, sys.argv[1:])
files = {path: path.name for path in sorted(photos.iterdir())}
undo_file = write_undo_file(planned(files, folder), folder)
print("ready", flush=True)
move_all(undo_file)
"""


@pytest.mark.slow
@pytest.mark.parametrize("wait_s", [0.0, 0.005, 0.02])
def test_a_killed_process_loses_nothing(tmp_path: Path, wait_s: float) -> None:
    photos, folder = tmp_path / "photos", tmp_path / "copies"
    photos.mkdir()
    for number in range(500):
        (photos / f"{number}.jpg").write_text(f"contents of {number}")
    before = contents(photos)
    command = [sys.executable, "-c", MOVE, str(photos), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait_s)
        process.kill()
    assert set(before.values()) <= {*contents(photos).values(), *contents(folder).values()}
    undone = undo_moves(folder / "undo.json")
    assert (undone.moved + undone.in_place, undone.failed) == (500, {})
    assert contents(photos) == before
    assert contents(folder) == {}


def test_new_file_in_an_old_place_is_left_there(photos: Path, tmp_path: Path) -> None:
    undo_file = plan(photos, tmp_path / "copies")
    move_all(undo_file)
    (photos / "a.jpg").write_text("a new one")
    (undo_file.parent / "b/a.jpg").unlink()
    undone = undo_moves(undo_file)
    assert undone.moved == 1
    assert undone.failed == {
        "a.jpg": f"another file is at {photos / 'a.jpg'}, so it is left at "
        f"{undo_file.parent / 'a.jpg'}",
        "b/a.jpg": "it is in neither place",
    }
    assert (photos / "a.jpg").read_text() == "a new one"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda stored: "no json", "is no undo file"),
        (lambda stored: json.dumps({"format": 2}), "is no undo file"),
        (lambda stored: stored.replace('"target": "a.jpg"', '"target": "../a.jpg"'), "is damaged"),
        (lambda stored: stored.replace('"target": "a.jpg"', '"target": "/a.jpg"'), "is damaged"),
    ],
)
def test_undo_files_that_are_none_are_refused(
    photos: Path, tmp_path: Path, change: Any, expected: str
) -> None:
    undo_file = plan(photos, tmp_path / "copies")
    undo_file.write_text(change(undo_file.read_text()))
    with pytest.raises(DataError, match=expected):
        undo_moves(undo_file)
    assert len(contents(photos)) == 3
    with pytest.raises(DataError, match="there is no such file"):
        undo_moves(tmp_path / "none.json")
