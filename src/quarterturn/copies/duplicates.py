"""``quarterturn duplicates``: images that show the same picture, and which of them to keep."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quarterturn.config.options import take_options
from quarterturn.copies.copies import copies_in
from quarterturn.copies.duplicates_page import duplicates_page
from quarterturn.copies.file_moves import (
    Undone,
)
from quarterturn.copies.found_copies import COLUMNS, FoundCopies
from quarterturn.copies.keep_order import LARGEST, OLDEST, is_below
from quarterturn.copies.moved_copies import (
    check_move,
    is_within,
    move_back,
    move_copies,
    with_moves,
)
from quarterturn.copies.options import DuplicatesOptions
from quarterturn.copies.whole_pictures import whole_pictures
from quarterturn.data.data_argument import is_there, locate, short_name
from quarterturn.data.sources import open_source
from quarterturn.data.unreadable import list_unreadable
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
from quarterturn.wording import counted

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
        return move_back(options.undo, target, options)
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
    check_move(data, options)
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
            found = with_moves(found, options)
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
        if is_within(Path.cwd(), data):
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
        found, undo_file, failed = move_copies(found, options.move)
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
            f"{counted(len(failed), 'image file')} could not be moved and are where they were; "
            "the others are in place:\n"
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
