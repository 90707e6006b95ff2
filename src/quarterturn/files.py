"""The one way to write a file that is to be kept: whole or not at all.

Every file that a run keeps, and every file that a command is asked for, is written here. The new
contents go to a file beside, are flushed to the disk, and then take the place of the old ones. A
full disk, an error or a kill at any moment leaves the old file as it was.
"""

from __future__ import annotations

import csv
import errno
import glob
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal, overload

from quarterturn.errors import OutputError

SUFFIX = ".partial"
"""Ending of files that are being written."""

MAX_NAME_BYTES = 255

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, and put what is written there in place of ``path`` at the end.

    For writers that take a path; `atomic_write` opens the file itself. Concurrent writers do not
    meet: each has a name of its own, and the last to finish wins.

    Args:
        path: The file to be written, in a folder that exists.

    Yields:
        A path beside it, where nothing is yet.

    Raises:
        OutputError: The operating system refused; says what to do. The old file is as it was.
    """
    partial = beside(path)
    try:
        with explained(path):
            yield partial
        put_in_place(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say what to do where the operating system refuses to write ``path``.

    Raises:
        OutputError: In place of the system's own error, or of a library's around it.
        BaseException: Ctrl-C, or another signal's exception, in place of a library's error about a
            file that it left unfinished: ``torch.save`` raises one of its own.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        for inner in chain(error):
            if not isinstance(inner, Exception):
                raise inner from None
        if (cause := refusal(error)) is None:
            raise
        raise OutputError(f"cannot write {path}: {cause.strerror}; {_advice(cause)}") from error


@overload
def atomic_write(path: Path) -> AbstractContextManager[IO[bytes]]: ...
@overload
def atomic_write(path: Path, mode: Literal["wb"]) -> AbstractContextManager[IO[bytes]]: ...
@overload
def atomic_write(path: Path, mode: Literal["w"]) -> AbstractContextManager[IO[str]]: ...
@contextmanager
def atomic_write(path: Path, mode: Literal["w", "wb"] = "wb") -> Iterator[IO[Any]]:
    """Open a file for writing; it takes the place of ``path`` when the block ends without an error.

    Args:
        path: The file to be written, in a folder that exists.
        mode: ``wb`` for bytes; ``w`` for text in UTF-8 with line ends as written. A file name need
            not be UTF-8, so its odd bytes are written as they are.

    Raises:
        OutputError: As for `replacing`.
    """
    text: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    with replacing(path) as partial, open(partial, mode, **(text if mode == "w" else {})) as file:
        yield file


def beside(path: Path) -> Path:
    """A free name in the same folder, which nobody else takes, for what will become ``path``."""
    ending = f".{uuid.uuid4().hex[:12]}{SUFFIX}"
    # A long name is cut, since file systems allow 255 bytes.
    name = os.fsdecode(os.fsencode(path.name)[: MAX_NAME_BYTES - len(ending)])
    return path.with_name(name + ending)


def put_in_place(made: Path, path: Path) -> None:
    """Rename a finished file or folder so that the new contents last through a power failure.

    Args:
        made: What was written, on the same file system.
        path: Its place; a file that is there is replaced, a folder must be empty.

    Raises:
        OutputError: The operating system refused; ``path`` is as it was.
    """
    files = [each for each in made.rglob("*") if each.is_file()] if made.is_dir() else [made]
    with explained(path):
        for file in files:
            with open(file, "r+b") as written:
                os.fsync(written.fileno())
        os.replace(made, path)
    _flush_folder_to_disk(path.parent)


def write_bytes(path: Path, contents: bytes) -> None:
    """Write bytes, atomically; raises as `replacing` does."""
    with atomic_write(path) as file:
        file.write(contents)


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8, atomically; raises as `replacing` does."""
    with atomic_write(path, "w") as file:
        file.write(text)


def write_json(path: Path, values: Any) -> None:
    """Write readable JSON, atomically; raises as `replacing` does."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a heading and rows as comma-separated values, atomically; raises as `replacing` does.

    Cells that a spreadsheet would take for formulas are `guarded`.

    Args:
        path: The file.
        header: Names of the columns.
        rows: Cells, as many in a row as there are columns; may be an iterator over many.
    """
    with atomic_write(path, "w") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([guarded(cell) for cell in row] for row in rows)


def guarded(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: behind an apostrophe if it begins like one.

    A file may be called ``=HYPERLINK(...)``. Numbers stay as they are.
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return "'" + cell
    return cell


def unguarded(cell: str) -> str:
    """What `guarded` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(nan|inf)")


def remove_abandoned(path: Path) -> None:
    """Remove what killed processes left beside ``path`` while they wrote it.

    Args:
        path: A file that only this process writes, such as a run's checkpoint.
    """
    for partial in path.parent.glob(f"{glob.escape(path.name)}.*{SUFFIX}"):
        with suppress(OSError):
            partial.unlink()


def refusal(error: BaseException) -> OSError | None:
    """The operating system's own error behind an error; None for a defect or a wrong setting.

    Libraries wrap it in errors of theirs: ``torch.save`` raises a RuntimeError on a full disk.
    """
    for inner in chain(error):
        if "DataLoader worker" in str(inner):
            return None  # torch reports a killed worker amid anything, such as handling an OSError
        if isinstance(inner, OSError) and inner.strerror:
            return inner
    return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it: each was raised from the next, or while handling it."""
    inner: BaseException | None = error
    while inner is not None:
        yield inner
        inner = inner.__cause__ if inner.__suppress_context__ else inner.__context__


def _advice(cause: OSError) -> str:
    """What the user can do about it."""
    if cause.errno in DISK_FULL:
        return "free some space and try again"
    if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "choose a folder that you may write to"
    if cause.errno == errno.ENOENT:
        return "its folder does not exist"
    return "check the disk, or choose another folder"


def _flush_folder_to_disk(folder: Path) -> None:
    """Make a rename last through a power failure, on systems that open folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
