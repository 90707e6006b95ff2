from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quarterturn import files
from quarterturn.errors import OutputError
from quarterturn.files import (
    atomic_write,
    guarded,
    remove_abandoned,
    replacing,
    unguarded,
    write_bytes,
    write_csv,
    write_json,
    write_text,
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "kept.json"
    path.write_text("old")
    return path


def test_contents_arrive_and_nothing_is_left_beside(tmp_path: Path):
    write_bytes(tmp_path / "a", b"\x00\r\n")
    write_text(tmp_path / "b", "ü\n")
    write_json(tmp_path / "c", {"x": [1, None]})
    write_csv(tmp_path / "d", ["name", "n"], ([f"ph{i},oto", i] for i in range(2)))
    assert (tmp_path / "a").read_bytes() == b"\x00\r\n"
    assert (tmp_path / "b").read_bytes() == "ü\n".encode()
    assert json.loads((tmp_path / "c").read_text()) == {"x": [1, None]}
    assert (tmp_path / "d").read_bytes() == b'name,n\r\n"ph0,oto",0\r\n"ph1,oto",1\r\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "d"]


def test_names_that_are_no_utf8_are_written_as_they_are(tmp_path: Path):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_csv(tmp_path / "items.csv", ["path"], [[name]])
    assert (tmp_path / "items.csv").read_bytes() == b"path\r\ncaf\xe9.jpg\r\n"


def test_the_old_file_is_there_until_the_block_ends(old: Path):
    with atomic_write(old, "w") as file:
        file.write("new")
        file.flush()
        assert old.read_text() == "old"
    assert old.read_text() == "new"


def test_an_error_in_the_block_keeps_the_old_file(old: Path):
    with pytest.raises(ZeroDivisionError), atomic_write(old) as file:
        file.write(b"half" * (1 // 0))
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EIO, "check the disk"),
        (errno.EACCES, "may write to"),
    ],
)
def test_a_refusal_names_the_file_and_what_to_do(old, monkeypatch, step, code, advice):
    def refuse(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, step, refuse)
    with pytest.raises(OutputError) as caught:
        write_text(old, "new")
    message = str(caught.value)
    assert message.startswith(f"cannot write {old}: {os.strerror(code)}; ")
    assert advice in message
    assert ("free some space" in message) == (code in files.DISK_FULL)
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_a_folder_that_is_gone_is_named(tmp_path: Path):
    with pytest.raises(OutputError, match="its folder does not exist"):
        write_text(tmp_path / "gone" / "a.txt", "x")


def test_a_full_disk_is_found_behind_the_error_of_torch(old: Path):
    def save_on_a_full_disk() -> None:
        with replacing(old) as partial:
            partial.symlink_to("/dev/full")
            with open(partial, "wb") as file:
                torch.save({"x": torch.zeros(100_000)}, file)

    with pytest.raises(OutputError, match=r"No space left on device; free some space"):
        save_on_a_full_disk()
    assert old.read_text() == "old"
    assert list(old.parent.iterdir()) == [old]


def test_writers_of_one_file_do_not_meet(tmp_path: Path):
    path = tmp_path / "one.txt"
    with atomic_write(path, "w") as first, atomic_write(path, "w") as second:
        first.write("first")
        second.write("second")
    assert path.read_text() == "first"  # the last to finish wins
    assert list(tmp_path.iterdir()) == [path]


def test_contents_and_folder_are_flushed_before_and_after_the_rename(old, monkeypatch):
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def note_replace(source: Path, target: Path) -> None:
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", note_fsync)
    monkeypatch.setattr(files.os, "replace", note_replace)
    write_text(old, "new")
    assert calls == ["file", "rename", "folder"]


def test_a_killed_writer_leaves_the_old_file(old: Path):
    program = (
        "import pathlib, sys, time\n"
        "from quarterturn.files import atomic_write\n"
        f"with atomic_write(pathlib.Path({str(old)!r})) as file:\n"
        "    file.write(b'half')\n"
        "    file.flush()\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert old.read_text() == "old"


def test_what_killed_writers_left_is_removed(old: Path):
    ours, other = (old.with_name(f"{name}.json.0123.partial") for name in ("kept", "else"))
    for path in (ours, other):
        path.touch()
    remove_abandoned(old)
    assert sorted(old.parent.iterdir()) == [other, old]


def test_a_name_as_long_as_can_be_is_written(tmp_path: Path):
    for name in ("x" * 250, "x" * 255, "é" * 127):
        write_text(tmp_path / name, "whole")
        assert (tmp_path / name).read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 3


def test_cells_like_formulas_are_written_behind_an_apostrophe(tmp_path: Path):
    cells = ["=HYPERLINK(1)", "+1a", "-cat.jpg", "@x", "'=x", "-0.5", "+1e-3", "plain", -3]
    write_csv(tmp_path / "x.csv", ["name"], [[cell] for cell in cells])
    assert (tmp_path / "x.csv").read_text().split() == [
        *("name", "'=HYPERLINK(1)", "'+1a", "'-cat.jpg", "'@x", "''=x"),
        *("-0.5", "+1e-3", "plain", "-3"),
    ]


@given(st.text(max_size=8) | st.text("'=+-@\t\r10.e", max_size=6))
def test_guarded_cells_come_back(cell: str):
    assert unguarded(guarded(cell)) == cell
    assert not (str(guarded(cell)).startswith(("=", "@")))
