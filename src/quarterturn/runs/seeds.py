"""Runs that differ only in their seed, in folders ``seed-<n>`` of one directory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from quarterturn.errors import ConfigError
from quarterturn.files import SUFFIX, put_in_place
from quarterturn.runs.directory import (
    check_place,
    delete_run,
    is_run,
    refuse_to_delete,
    remove_abandoned_draft,
)
from quarterturn.runs.files import SEED_FOLDERS
from quarterturn.runs.lock import FILE as LOCK
from quarterturn.runs.lock import locked
from quarterturn.runs.run import Run

RESULTS = "results.json"
"""What a finished classifier says, and beside several of them their mean and spread."""
SUMMARY = "summary.json"
"""The same of pretrainings: their last diagnostics."""


def seed_places(path: Path, first: int, number: int) -> dict[int, Path]:
    """Each seed with its run directory: ``path`` itself for one seed, else a folder in it.

    Args:
        path: The directory of the command.
        first: The first seed.
        number: How many seeds, each one more than the one before.
    """
    if number == 1:
        return {first: path}
    return {seed: seed_directory(path, seed) for seed in range(first, first + number)}


def seed_directory(path: Path, seed: int) -> Path:
    """The directory of one run."""
    return path / f"seed-{seed}"


def seed_runs(path: Path) -> list[Run]:
    """The runs in a directory, by seed; none where it is no directory of several seeds.

    All of them are made before the first is trained, so that they tell how many there are to be.
    """
    if (path / "config.json").exists():
        return []
    runs = [Run.open(file.parent) for file in path.glob(f"{SEED_FOLDERS}/config.json")]
    return sorted(runs, key=lambda run: run.config.run.seed)


def finish_start(path: Path) -> None:
    """Put runs in their places that a killed command had made, but not renamed.

    It renames the first of them when all are whole. Before that nothing has begun.
    """
    if not seed_runs(path):
        return
    for draft in path.glob(f"seed-*{SUFFIX}"):
        place = path / draft.name.partition(".")[0]
        if not place.exists() and (draft / LOCK).exists():
            with locked(draft):
                put_in_place(draft, place)


def prepare_seeds(path: Path, *, overwrite: bool, needed: Sequence[Path] = ()) -> None:
    """Make way for runs of several seeds, deleting earlier ones only when told to.

    Args:
        path: The directory that is to hold them.
        overwrite: Delete runs of ours: the one that ``path`` is, or those in its ``seed-<n>``.
        needed: Files and folders that may not be deleted with them.

    Raises:
        ConfigError: Something is there that may not be deleted.
    """
    if path.is_dir() and not path.is_symlink() and not seed_runs(path):
        for draft in path.glob(f"seed-*{SUFFIX}"):
            remove_abandoned_draft(draft)
        with suppress(OSError):  # something else is in it
            path.rmdir()
    for run in check_seeds(path, overwrite=overwrite, needed=needed):
        delete_run(run)
    for name in (RESULTS, SUMMARY):
        (path / name).unlink(missing_ok=True)


def check_seeds(path: Path, *, overwrite: bool, needed: Sequence[Path] = ()) -> list[Path]:
    """Refuse a place for runs of several seeds where something is that may not be deleted.

    Arguments as for `prepare_seeds`.

    Returns:
        The runs that have to be deleted.

    Raises:
        ConfigError: As of `prepare_seeds`.
    """
    if not path.exists() and not path.is_symlink():
        return []
    folders = [] if is_run(path) else sorted(path.glob("seed-*"))
    if not overwrite or not folders or path.is_symlink():
        check_place(path, overwrite=overwrite, needed=needed)
        return [path]
    if foreign := [str(folder) for folder in folders if not is_run(folder)]:
        raise ConfigError(
            f"no run directories (they have no config.json of ours), so --overwrite does not "
            f"delete them: {', '.join(foreign)}; choose another --out"
        )
    for folder in folders:
        refuse_to_delete(folder, needed)
    return folders
