"""Room for a new run: what may be deleted to make way for it, and what may not."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from quarterturn.config import Config
from quarterturn.errors import ConfigError


def prepare_directory(path: Path, *, overwrite: bool, needed: Sequence[Path] = ()) -> None:
    """Make an empty directory, deleting an earlier run only when told to.

    Args:
        path: The directory.
        overwrite: Delete a run of ours that is there.
        needed: Files and folders that may not be deleted with it.

    Raises:
        ConfigError: Something is there that may not be deleted.
    """
    if path.exists() or path.is_symlink():
        if not overwrite:
            raise ConfigError(f"{path} exists; choose another --out, or give --overwrite")
        if not is_run(path):
            raise ConfigError(
                f"{path} is no run directory (it has no config.json of ours), so --overwrite does "
                "not delete it; choose another --out"
            )
        refuse_to_delete(path, needed)
        shutil.rmtree(path)
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror}") from error


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
        Config.read(path / "config.json")
    except ConfigError:
        return False
    return True
