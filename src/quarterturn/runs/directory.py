"""Room for a new run: what may be deleted to make way for it, and what may not."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from quarterturn.errors import CheckpointError, ConfigError, QuarterturnError
from quarterturn.files import SUFFIX, beside, explained, put_in_place
from quarterturn.kept_files import read_object
from quarterturn.methods.configuration import Config
from quarterturn.runs.lock import FILE as LOCK
from quarterturn.runs.lock import locked


@contextmanager
def new_directory(
    path: Path, *, overwrite: bool = False, needed: Sequence[Path] = ()
) -> Iterator[Path]:
    """Make a directory whole or not at all, deleting an earlier run only with ``overwrite``.

    Args:
        path: Its place.
        overwrite: Delete the run of ours that is there.
        needed: Files and folders that may not be deleted with it.

    Yields:
        An empty directory beside it. When the block ends without an error, it is renamed.

    Raises:
        ConfigError: Something is there that may not be deleted.
        CheckpointError: A command works on what is there.
        OutputError: The directory cannot be made.
    """
    check_place(path, overwrite=overwrite, needed=needed)
    for abandoned in path.parent.glob(f"{glob.escape(path.name)}.*{SUFFIX}"):
        remove_abandoned_draft(abandoned)
    draft, has_parent = beside(path), path.parent.exists()
    try:
        with explained(path):
            draft.mkdir(parents=True)
            (draft / LOCK).touch()  # by which others know a draft that nobody works on
        yield draft
        if path.exists():
            delete_run(path)
        put_in_place(draft, path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        if not has_parent:
            with suppress(OSError):  # another run is in it by now
                path.parent.rmdir()
        raise


def remove_abandoned_draft(draft: Path) -> None:
    """Remove a directory that a command left which was killed before it had begun a run."""
    with suppress(OSError):
        draft.rmdir()  # if it is empty
    if (draft / LOCK).exists():
        with suppress(CheckpointError, OSError):  # one that is at work holds the lock
            delete_run(draft)


def delete_run(path: Path) -> None:
    """Delete a run that no command works on.

    It is renamed first: half a run could be neither resumed nor overwritten.

    Raises:
        CheckpointError: One does; names its process.
    """
    with locked(path):
        doomed = beside(path)
        path.rename(doomed)
        shutil.rmtree(doomed)


def check_place(path: Path, *, overwrite: bool, needed: Sequence[Path] = ()) -> None:
    """Refuse a place for a new run where something is that may not be deleted.

    Raises:
        ConfigError: Says what is there, and what to do.
    """
    if not path.exists() and not path.is_symlink():
        return
    if not overwrite:
        raise ConfigError(f"{path} exists; choose another --out, or give --overwrite")
    if not is_run(path):
        raise ConfigError(
            f"{path} is no run directory (it has no config.json of ours), so --overwrite does not "
            "delete it; choose another --out"
        )
    refuse_to_delete(path, needed)


def refuse_to_delete(path: Path, needed: Sequence[Path]) -> None:
    """Stop before a directory is deleted in which lies what the next run is to begin with.

    Raises:
        ConfigError: Names it.
    """
    for one in needed:
        if one.exists() and one.resolve().is_relative_to(path.resolve()):
            raise ConfigError(
                f"--overwrite would delete {one}, which the new run begins with; choose another "
                "--out"
            )


def is_run(path: Path) -> bool:
    """Whether this is a run directory of ours, and no link to one: it may be deleted."""
    if path.is_symlink():
        return False
    try:
        stored = read_object(path / "config.json")
        Config.from_dict(stored["config"], stored.get("format", 1))
    except (OSError, QuarterturnError, KeyError, TypeError, ValueError, AttributeError):
        return False
    return True
