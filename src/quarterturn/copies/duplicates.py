"""``quarterturn duplicates``: images that show the same picture, and which of them to keep."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from quarterturn.config.options import flag_of, take_options
from quarterturn.config.validation import field_types, flag
from quarterturn.copies.copies import copies_in
from quarterturn.copies.duplicates_page import duplicates_page
from quarterturn.copies.file_moves import (
    Undone,
    move_all,
    planned,
    undo_moves,
    undo_words,
    write_undo_file,
)
from quarterturn.copies.found_copies import COLUMNS, FoundCopies
from quarterturn.copies.keep_order import LARGEST, OLDEST, is_below
from quarterturn.copies.options import DuplicatesOptions
from quarterturn.copies.whole_pictures import whole_pictures
from quarterturn.data.data_argument import is_there, locate, short_name
from quarterturn.data.sources import open_source
from quarterturn.data.unreadable import count_files, list_unreadable
from quarterturn.errors import ConfigError, DataError, OutputError
from quarterturn.features.cache import FeatureCache
from quarterturn.files import write_csv, write_json
from quarterturn.methods.configuration import Config
from quarterturn.pages.duplicates import DuplicatesPage, write_duplicates
from quarterturn.pages.tables import Table, printable, show, size_in_words
from quarterturn.progress import duration, stage
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.facts import folders_of
from quarterturn.runs.lock import locking_its_run
from quarterturn.runs.output_file import check_out

logger = logging.getLogger(__name__)

TABLE = "duplicates.csv"
GROUPING_SHARE = 0.2
"""Time to compare the pictures, as a share of the time to read them."""


@dataclass(frozen=True)
class Duplicates:
    """Where the results are, and what came of it.

    Attributes:
        table: ``duplicates.csv``, every image of a group and every unreadable file.
        page: ``duplicates.html``, the groups in pictures.
        figures: ``duplicates.json``.
        groups: Number of groups.
        copies: Kind to number of copies, without those that are kept in a folder.
        moved: Number of files that were moved.
        undo: The undo file; None where nothing was moved.
    """

    table: Path
    page: Path
    figures: Path
    groups: int
    copies: dict[str, int]
    moved: int = 0
    undo: Path | None = None


def duplicates(
    target: Path | str | None = None,
    options: DuplicatesOptions | None = None,
    **given: Any,
) -> Duplicates | Undone:
    """Find images that show the same picture, in all splits; move the copies only if asked to.

    Nothing is trained. Every image of a group is a copy of the one that is kept, by its bytes or by
    its pixels; see `quarterturn.copies.duplicate_groups`.

    Args:
        target: DATA, or a run, whose images are looked at; None with ``undo``.
        options: What is kept and moved, and where results go.
        **given: Fields of `DuplicatesOptions`, in place of ``options`` or of some of its values.

    Returns:
        Where the results are; with ``undo``, what was moved back.

    Raises:
        ConfigError: A file or folder is in the way, there is no folder to keep, or options do not
            go together.
        DataError: There are no such images, or too many cannot be read; or no such undo file.
        OutputError: Files could not be moved; the others were, and the undo file has them.
    """
    options = take_options(DuplicatesOptions, options, given)
    if options.undo is not None:
        return _undo(options.undo, target, options)
    if target is None:
        raise ConfigError("expected PHOTOS or RUN, or --undo FILE")
    return _find(str(target), options)


@locking_its_run
def _find(words: str, options: DuplicatesOptions) -> Duplicates:
    began_s = time.perf_counter()
    run = Run.open(words) if (Path(words).expanduser() / "config.json").is_file() else None
    if run is None and options.data is not None:
        raise ConfigError(
            f"--data {options.data} says what a run looks at, and {words} is no run: give one of "
            "them"
        )
    data = _data(words, run, options)
    table = _table(data, run, options)
    _check_move(data, options)
    settings = Config().data if run is None else run.config.data
    reading = options.reading_as(settings)
    source = open_source(data, index=None if run is None else run.index, min_images=1, **reading)
    source.log_summary(uses_all=True)
    if options.move is not None and not all(each.are_files for each in source.all_splits.values()):
        raise ConfigError(
            f"--move {options.move}: the images of {source.name} are no files of their own, so "
            "none can be moved; leave --move out"
        )
    cache = None if run is None else FeatureCache(run.path / "features")
    num_images = sum(map(len, source.all_splits.values()))
    with stage("duplicates", total=num_images * (1 + GROUPING_SHARE)):
        pictures = whole_pictures(
            source,
            reading["max_bad_fraction"],
            cache,
            workers=options.num_workers,
            weight=num_images,
        )
        with stage("copies", total=2, weight=num_images * GROUPING_SHARE):
            groups = copies_in(pictures, options.keep)
            is_kept = None
            if options.keep not in (LARGEST, OLDEST):
                is_kept = is_below(pictures, Path(options.keep))
            found = FoundCopies(pictures, groups, is_kept, options.keep, data)
            found = _with_moves(found, options)
            page = duplicates_page(found, table.with_suffix(".html"))
    return _write(found, page, table, options, run, began_s)


def _data(words: str, run: Run | None, options: DuplicatesOptions) -> str:
    """DATA whose images are looked at.

    Raises:
        DataError: There is nothing there.
    """
    if run is not None:
        return run.data_or_own(options.data, "--data DATA")
    if not is_there(words):
        raise DataError(
            f"nothing is at {words!r}: expected a folder of photos, other DATA, or a run"
        )
    return words


def _table(data: str, run: Run | None, options: DuplicatesOptions) -> Path:
    """The table to write, refused where it would be another's or among the photos.

    Raises:
        ConfigError: It is there already, is no .csv, or its folder does not exist.
    """
    if options.out is not None:
        table = options.out
    elif run is None:
        table = Path(TABLE)
        if _is_within(Path.cwd(), data):
            raise ConfigError(
                f"the working folder is among the photos of {data}, where nothing is written: give "
                "--out FILE.csv elsewhere"
            )
    else:
        is_own = options.data is None or locate(data) == run.data
        table = run.path / (TABLE if is_own else f"duplicates-{short_name(data)}.csv")
    is_ours = run is not None and options.out is None
    check_out(table, [".csv"], overwrite=options.overwrite or is_ours, beside=[".html", ".json"])
    return table


def _check_move(data: str, options: DuplicatesOptions) -> None:
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
    if _is_within(options.move, data):
        raise ConfigError(
            f"--move {options.move} is within {data}, where its files would be found again: choose "
            "a folder elsewhere"
        )


def _is_within(folder: Path, data: str) -> bool:
    """Whether a folder is DATA, or within it."""
    photos = Path(data).expanduser()
    return photos.is_dir() and (
        Path(os.path.realpath(photos)) in [(real := Path(os.path.realpath(folder))), *real.parents]
    )


def _with_moves(found: FoundCopies, options: DuplicatesOptions) -> FoundCopies:
    """The same with the places that files will have."""
    if options.move is None:
        return found
    files = found.movable(options.kinds)
    names = {file: found.pictures.names[place] for file, place in files.items()}
    targets = planned(names, options.move.expanduser().resolve())
    return replace(found, moved_to={files[file]: target for file, target in targets.items()})


def _move(found: FoundCopies, folder: Path) -> tuple[FoundCopies, Path | None, dict[Path, str]]:
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


def _write(
    found: FoundCopies,
    page: DuplicatesPage,
    table: Path,
    options: DuplicatesOptions,
    run: Run | None,
    began_s: float,
) -> Duplicates:
    """Move what is to be moved, write the results and say what came of it.

    Raises:
        OutputError: Files could not be moved.
    """
    # The page before anything moves: the disk may be full.
    write_duplicates(
        table.with_suffix(".html"), page, table.name, [] if run is None else folders_of(run)
    )
    undo_file: Path | None = None
    failed: dict[Path, str] = {}
    if options.move is not None:
        found, undo_file, failed = _move(found, options.move)
    write_csv(table, COLUMNS, found.rows())
    write_json(table.with_suffix(".json"), found.figures())
    results = Duplicates(
        table,
        table.with_suffix(".html"),
        table.with_suffix(".json"),
        len(found.groups),
        found.num_by_kind,
        len(found.moved_to),
        undo_file,
    )
    show(_counts(found))
    log_unreadable(found.pictures.unreadable, table)
    _log_closing(found, results, options, run, began_s)
    if failed:
        raise OutputError(
            f"{count_files(len(failed))} could not be moved and are where they were; the others "
            "are in place:\n"
            + "\n".join(list_unreadable({printable(str(f)): why for f, why in failed.items()}))
        )
    return results


def _counts(found: FoundCopies) -> Table:
    """What was found, for the terminal."""
    rows: list[list[Any]] = [
        ["images", f"{len(found.pictures):,}"],
        ["groups", f"{len(found.groups):,}"],
        *([f"{kind} copies", f"{number:,}"] for kind, number in found.num_by_kind.items()),
        ["size of all copies", size_in_words(found.num_bytes)],
    ]
    if len(set(found.pictures.splits)) > 1:
        rows.append(["groups over several splits", f"{found.num_across_splits:,}"])
    return Table(f"Duplicates in {found.pictures.source.name}", ["found", ""], rows)


def _log_closing(
    found: FoundCopies,
    results: Duplicates,
    options: DuplicatesOptions,
    run: Run | None,
    began_s: float,
) -> None:
    elapsed = duration(time.perf_counter() - began_s)
    outcome = f"{len(found.pictures):,} images compared in {elapsed}; "
    files = {"page": results.page, "every copy": results.table, "figures": results.figures}
    commands: list[tuple[object, ...]] = []
    if results.undo is not None:
        outcome += f"{results.moved:,} files moved to {results.undo.parent}"
        files["undo file"] = results.undo
        commands.append(("duplicates", "--undo", results.undo))
        if run is not None and options.data is None:
            logger.warning(
                f"{run.path} has learned from these images, and will miss those that were moved"
            )
    elif options.move is not None:
        outcome += f"none is a copy of these kinds: {', '.join(options.kinds)}; nothing was moved"
    else:
        outcome += "no file was touched"
        if copies := {kind: n for kind, n in results.copies.items() if n}:
            target = run.path if run is not None else found.data
            words = ["duplicates", target]
            words += ["--data", options.data] if options.data is not None else []
            words += ["--keep", options.keep] if options.keep != LARGEST else []
            words += ["--out", options.out] if options.out is not None else []
            words += ["--overwrite"] if run is None or options.out is not None else []
            words += ["--move", "DIR", "--kinds", *copies]
            commands.append(tuple(words))
    log_closing(outcome, files, commands)


def _undo(undo_file: Path, target: Path | str | None, options: DuplicatesOptions) -> Undone:
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
    words = f"{count_files(undone.moved)} moved back"
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
