"""Files moved to a folder in such a way that nothing is lost, and that all of it can be undone.

What is to be moved is written down before the first file moves. No file is ever written over, and
none is deleted but the one that has been copied to another disk, once the copy is complete.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePath

from quarterturn.errors import CheckpointError, DataError, OutputError
from quarterturn.files import (
    DISK_FULL,
    MAX_NAME_BYTES,
    beside,
    explained,
    put_in_place,
    remove_abandoned,
    write_json,
)
from quarterturn.progress import stage
from quarterturn.runs.closing import command
from quarterturn.runs.record_files import read_record, to_json

UNDO_FILE = "undo.json"
"""Its name; a later one has a number."""
OUTSIDE = "elsewhere"
"""Folder of files that are not below the folder of the collection."""


@dataclass(frozen=True)
class Move:
    """One file that is moved.

    Attributes:
        source: Where it was, as an absolute path.
        target: Where it is, from the folder of the undo file.
        num_bytes: Its size.
    """

    source: str
    target: str
    num_bytes: int


@dataclass(frozen=True)
class Moves:
    """What an undo file holds.

    Attributes:
        made: When, with the time zone.
        moves: In the order in which they are made.
    """

    made: str
    moves: tuple[Move, ...]


def planned(files: Mapping[Path, str], folder: Path) -> dict[Path, Path]:
    """Where files will be, before any of them is moved.

    Args:
        files: Absolute paths to names below the folder; one that leads out of it is cut.
        folder: The folder. Names that are taken there, or by an earlier file, get a number.

    Returns:
        Old paths to new ones.
    """
    taken: set[str] = set()
    targets = {}
    for source, name in files.items():
        path = PurePath(os.path.normpath(name))
        if path.is_absolute() or ".." in path.parts:
            path = PurePath(OUTSIDE, *(part for part in path.parts[-2:] if part not in ("..", "/")))
        target = _free(folder / path, taken)
        taken.add(str(target).casefold())
        targets[source] = target
    return targets


def _free(path: Path, taken: Iterable[str] = ()) -> Path:
    """The path, or the next one with a number where nothing is."""
    number, candidate = 1, path
    while os.path.lexists(candidate) or str(candidate).casefold() in taken:
        number += 1
        ending = f"-{number}{path.suffix}"
        stem = os.fsencode(path.stem)[: MAX_NAME_BYTES - len(os.fsencode(ending))]
        candidate = path.with_name(os.fsdecode(stem) + ending)
    return candidate


def write_undo_file(targets: Mapping[Path, Path], folder: Path) -> Path:
    """Write down what is about to be moved.

    Args:
        targets: As `planned` has them.
        folder: Where the files will be; it is made.

    Returns:
        The file.

    Raises:
        OutputError: It cannot be written.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        moves = [
            Move(str(source), str(target.relative_to(folder)), source.stat().st_size)
            for source, target in targets.items()
        ]
    path = _free(folder / UNDO_FILE)
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    write_json(path, to_json(Moves(made, tuple(moves))))
    return path


def move_all(undo_file: Path) -> dict[Path, str]:
    """Move all files that an undo file has.

    Returns:
        Files that were not moved, with the reason.

    Raises:
        OutputError: The disk is full: what was moved, and how to undo it.
    """
    moves = _read(undo_file)
    failed: dict[Path, str] = {}
    with stage("moving", total=len(moves)) as bar:
        for number, move in enumerate(moves):
            source, target = Path(move.source), undo_file.parent / move.target
            try:
                if source.stat().st_size != move.num_bytes:
                    failed[source] = "it has changed since it was looked at"
                else:
                    move_file(source, target)
            except OSError as error:
                if error.errno in DISK_FULL:
                    raise OutputError(
                        f"no space is left on the disk of {undo_file.parent}: "
                        f"{number - len(failed):,} of {len(moves):,} files were moved, the others "
                        "are where they were. Free some space and call it again, or move them back "
                        f"with: {undo_words(undo_file)}"
                    ) from error
                failed[source] = error.strerror or str(error)
            bar.advance()
    return failed


def undo_words(undo_file: Path) -> str:
    """The command that moves files back."""
    return command("duplicates", "--undo", undo_file)


def move_file(source: Path, target: Path) -> None:
    """Move a file to a name where nothing is, also to another disk.

    Whenever it is interrupted, the whole file is in one of the two places, or in both.

    Args:
        source: The file.
        target: Its new path; folders are made.

    Raises:
        OSError: The system refused, or something has the name already; the file is where it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Taken first, since a rename would silently replace what is there.
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(source, target)
            source.unlink()
    except BaseException:
        if source.exists():
            target.unlink(missing_ok=True)
        raise


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its times to another disk, whole or not at all."""
    partial = beside(target)
    try:
        shutil.copy2(source, partial)
        put_in_place(partial, target)
    except OutputError as error:
        cause = error.__cause__
        raise cause if isinstance(cause, OSError) else error from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class Undone:
    """What came of moving files back.

    Attributes:
        moved: Files that are back in their places.
        in_place: Files that were there already.
        failed: Files that could not be moved back, with the reason.
    """

    moved: int
    in_place: int
    failed: dict[str, str]


def undo_moves(undo_file: Path) -> Undone:
    """Move files back to where they were, also after an interrupted move.

    Args:
        undo_file: As `write_undo_file` made it, in the folder to which the files were moved.

    Raises:
        DataError: There is no such file, or it is no undo file.
    """
    moves = _read(undo_file)
    moved, in_place, failed = 0, 0, {}
    with stage("moving back", total=len(moves)) as bar:
        for move in reversed(moves):
            source, target = Path(move.source), undo_file.parent / move.target
            try:
                if os.path.lexists(source):
                    if reason := _tidy(source, target, move):
                        failed[move.target] = reason
                    else:
                        in_place += 1
                elif os.path.lexists(target):
                    move_file(target, source)
                    moved += 1
                else:
                    failed[move.target] = "it is in neither place"
                _remove_empty(target.parent, undo_file.parent)
            except OSError as error:
                failed[move.target] = error.strerror or str(error)
            bar.advance()
    return Undone(moved, in_place, failed)


def _read(undo_file: Path) -> tuple[Move, ...]:
    try:
        moves = read_record(undo_file, Moves).moves
    except FileNotFoundError:
        raise DataError(f"--undo {undo_file}: there is no such file") from None
    except (CheckpointError, OSError) as error:
        raise DataError(
            f"--undo {undo_file} is no undo file: expected the {UNDO_FILE} that --move wrote to "
            f"its folder ({error})"
        ) from error
    for move in moves:
        target = PurePath(move.target)
        if target.is_absolute() or ".." in target.parts or not os.path.isabs(move.source):
            raise DataError(
                f"--undo {undo_file} is damaged: it names {move.target}, which is not in its folder"
            )
    return moves


def _tidy(source: Path, target: Path, move: Move) -> str:
    """Remove what an interrupted move left of a file that is in its old place.

    Returns:
        Why that is not possible; empty where it is done.
    """
    remove_abandoned(target)
    if not os.path.lexists(target):
        return ""
    is_placeholder = target.stat().st_size == 0 and move.num_bytes > 0
    if is_placeholder or filecmp.cmp(source, target, shallow=False):
        target.unlink()
        return ""
    return f"another file is at {source}, so it is left at {target}"


def _remove_empty(folder: Path, top: Path) -> None:
    """Remove empty folders, upwards to another one, which stays."""
    while folder != top:
        try:
            folder.rmdir()
        except OSError:  # not empty, or gone
            return
        folder = folder.parent
