"""Copies moved to a folder, and back: ``duplicates --move`` and ``--undo``."""

from __future__ import annotations

import logging
import os
from dataclasses import fields, replace
from pathlib import Path

from quarterturn.config.options import flag_of
from quarterturn.config.validation import field_types, flag
from quarterturn.copies.file_moves import (
    Undone,
    move_all,
    planned,
    undo_moves,
    undo_words,
    write_undo_file,
)
from quarterturn.copies.found_copies import FoundCopies
from quarterturn.copies.options import DuplicatesOptions
from quarterturn.data.unreadable import list_unreadable
from quarterturn.errors import ConfigError, OutputError
from quarterturn.pages.tables import printable
from quarterturn.wording import counted

logger = logging.getLogger(__name__)


def check_move(data: str, options: DuplicatesOptions) -> None:
    """Refuse a folder to move to that is among the photos, or is no folder.

    Raises:
        ConfigError: It is one of these.
    """
    if options.move is None:
        return
    if options.move.exists() and not options.move.is_dir():
        raise ConfigError(f"--move {options.move} is a file; expected a folder, which is made")
    if not options.kinds:
        raise ConfigError("--kinds is empty: name what is to be moved, such as exact near")
    if is_within(options.move, data):
        raise ConfigError(
            f"--move {options.move} is within {data}, where its files would be found again: choose "
            "a folder elsewhere"
        )


def is_within(folder: Path, data: str) -> bool:
    """Whether a folder is DATA, or within it."""
    photos = Path(data).expanduser()
    return photos.is_dir() and (
        Path(os.path.realpath(photos)) in [(real := Path(os.path.realpath(folder))), *real.parents]
    )


def with_moves(found: FoundCopies, options: DuplicatesOptions) -> FoundCopies:
    """The same with the places that files will have."""
    if options.move is None:
        return found
    files = found.movable(options.kinds)
    names = {file: found.pictures.names[place] for file, place in files.items()}
    targets = planned(names, options.move.expanduser().resolve())
    return replace(found, moved_to={files[file]: target for file, target in targets.items()})


def move_copies(
    found: FoundCopies, folder: Path
) -> tuple[FoundCopies, Path | None, dict[Path, str]]:
    """Move the files, and correct where they are by what could not be moved.

    Returns:
        What was found, with the places of files that were moved; the undo file, None where there is
        nothing to move; and the files that were not moved, with the reason.
    """
    if not found.moved_to:
        return found, None, {}
    real_files = found.pictures.real_files
    targets = {Path(str(real_files[place])): path for place, path in found.moved_to.items()}
    undo_file = write_undo_file(targets, folder.expanduser().resolve())
    logger.info(f"moving {len(targets):,} files; to undo it: {undo_words(undo_file)}")
    failed = move_all(undo_file)
    moved_to = {p: t for p, t in found.moved_to.items() if Path(str(real_files[p])) not in failed}
    return replace(found, moved_to=moved_to), undo_file, failed


def move_back(undo_file: Path, target: Path | str | None, options: DuplicatesOptions) -> Undone:
    """Move files back.

    Raises:
        ConfigError: Something else is asked for too.
        OutputError: Files could not be moved back.
    """
    kinds, defaults = field_types(DuplicatesOptions), DuplicatesOptions()
    given = ["PHOTOS"] if target is not None else []
    given += [
        flag(flag_of(kinds[field.name]).name or field.name)
        for field in fields(options)
        if field.name != "undo" and getattr(options, field.name) != getattr(defaults, field.name)
    ]
    if given:
        raise ConfigError(f"--undo only moves files back: leave {', '.join(given)} out, or --undo")
    undone = undo_moves(undo_file.expanduser().resolve())
    words = f"{counted(undone.moved, 'image file')} moved back"
    if undone.in_place:
        words += f"; {undone.in_place:,} were in their places already"
    logger.info(words)
    if undone.failed:
        raise OutputError(
            f"{words}; {len(undone.failed):,} could not be moved back and stay in "
            f"{undo_file.parent}:\n"
            + "\n".join(list_unreadable({printable(f): why for f, why in undone.failed.items()}))
        )
    return undone
