"""``quarterturn orient``: which way is up, image by image, and upright copies."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from quarterturn.config.options import take_options
from quarterturn.data.data_argument import short_name
from quarterturn.data.imageset import FileImages
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.data.turned_files import CannotTurnError
from quarterturn.data.unreadable import list_unreadable
from quarterturn.data.upright_copies import UprightCopies
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import OutputError
from quarterturn.files import DISK_FULL, refusal, write_json
from quarterturn.orientation.options import OrientOptions
from quarterturn.orientation.orient_tables import orient_table
from quarterturn.orientation.predicted_turns import orient_images, run_to_orient_by
from quarterturn.orientation.turns import TURN, UNREADABLE, Turns, write_turns
from quarterturn.pages.tables import printable, show
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.lock import locking_its_run
from quarterturn.runs.output_file import check_out

logger = logging.getLogger(__name__)

Verdicts = dict[str, list[str]]


@locking_its_run
def orient(
    run: Path | str,
    data: Path | str | None = None,
    options: OrientOptions | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Tell the turn that brings each image upright, how probable it is, or that there is no "up".

    Args:
        run: A run of ``upright``, or of ``pretrain`` by decoupling or rotnet; where that holds an
            ``upright`` run, it is the one that is used.
        data: DATA; by default the run's, all of it, also where the run had a ``--limit``. Its
            training images and its test split are oriented.
        options: What to write, and from which scores on an image is turned.
        **fields: Fields of `OrientOptions`, in place of ``options`` or of some of its values.

    Returns:
        The figures: ``counts`` by verdict and by how the images were scored, the thresholds, and
        ``written``, with the images that could not be turned and why, None without ``write``.

    Raises:
        ConfigError: The run predicts no turns, or has learned from the images; a file or folder is
            in the way; a threshold is no fraction.
    """
    options = take_options(OrientOptions, options, fields)
    if options.out is not None:
        check_out(options.out, [".csv"], overwrite=options.overwrite, beside=[".json"])
    opened = Run.open(run)
    by = run_to_orient_by(opened)
    data = opened.data_or_own(data)
    source = open_source(
        data,
        index=opened.index,
        min_images=1,
        **options.reading_as(by.config.data),
    )
    source.log_summary()
    copies = None
    if options.write is not None:
        copies = UprightCopies.beside(data, source, options.write, overwrite=options.overwrite)
    runtime = Runtime(options.device, "32-true")
    path = options.out or opened.path / f"orient-{short_name(data)}.csv"
    written = None
    with stage("orient", total=source.num_indexed * (1 if copies is None else 2)):
        turns, learned_is_known = orient_images(
            by,
            source.splits,
            data,
            in_sample=options.in_sample,
            device=runtime.device,
            workers=options.num_workers,
        )
        verdicts = {
            split: found.verdicts(options.agnostic, options.confidence)
            for split, found in turns.items()
        }
        write_turns(path, source, turns, verdicts)
        if copies is not None:
            written = _write_copies(copies, source, turns, verdicts, write_all=options.write_all)
    result = {
        "run": str(opened.path),
        "oriented_by": str(by.path),
        "data": data,
        "name": source.name,
        "agnostic": options.agnostic,
        "confidence": options.confidence,
        "learned_is_known": learned_is_known,
        "images": source.num_indexed + len(source.unreadable),
        "counts": _counts(source, turns, verdicts),
        "written": written,
    }
    write_json(path.with_suffix(".json"), result)
    show(orient_table(result))
    if written is not None and written["left_out"]:
        lines = ["left out, since they cannot be turned without loss:"]
        logger.info(printable("\n".join([*lines, *list_unreadable(written["left_out"])])))
    log_unreadable(_unreadable(source, verdicts), path)
    _log_closing(by, source, data, path, copies)
    return result


def _unreadable(source: Source, verdicts: Verdicts) -> dict[str, str]:
    undecoded = {
        source.file_of(split, images.names[i]): "could not be decoded"
        for split, images in source.splits.items()
        for i, verdict in enumerate(verdicts[split])
        if verdict == UNREADABLE
    }
    return source.unreadable | undecoded


def _log_closing(
    by: Run, source: Source, data: str, path: Path, copies: UprightCopies | None
) -> None:
    files = {"turns": path}
    commands: list[tuple[object, ...]] = []
    if copies is not None:
        files["upright copies"] = copies.folder
        commands.append(("pretrain", copies.folder))
    elif source.train.are_files:
        commands.append(("orient", by.path, data, "--write", by.path / "upright-copies"))
    if by.kind == "upright":
        commands += [("pretrain", data, "--upright", by.path)]
        commands += [("upright", "--resume", by.path, "--format", "dat")]
    else:
        commands += [("upright", data), ("neighbors", by.path, source.train.names[0])]
    if len(commands) < 3:
        commands.append(("demo", data))
    count = source.num_indexed + len(source.unreadable)
    log_closing(f"which way is up in {count:,} images, by {by.path}", files, commands)


def _counts(
    source: Source, turns: dict[str, Turns], verdicts: Verdicts
) -> dict[str, dict[str, int]]:
    """Images by verdict, and by how they were scored; ``not`` for those that cannot be read."""
    counts: dict[str, Counter[str]] = {}
    for split, found in turns.items():
        for verdict, scored in zip(verdicts[split], found.scored, strict=True):
            of_verdict = counts.setdefault(verdict, Counter())
            of_verdict["not" if verdict == UNREADABLE else scored] += 1
    if source.unreadable:
        counts.setdefault(UNREADABLE, Counter())["not"] += len(source.unreadable)
    return {verdict: dict(of_verdict) for verdict, of_verdict in counts.items()}


def _write_copies(
    copies: UprightCopies,
    source: Source,
    turns: dict[str, Turns],
    verdicts: Verdicts,
    *,
    write_all: bool,
) -> dict[str, Any]:
    """Write the copies; what was written, and what could not be turned, with the reason."""
    written: dict[str, Any] = {
        "folder": str(copies.folder),
        "turned": 0,
        "copied": 0,
        "left_out": {},
    }
    for split, images in source.splits.items():
        assert isinstance(images, FileImages)
        is_to_turn = np.isin(verdicts[split], list(TURN.values()))
        is_to_copy = np.array(verdicts[split]) != UNREADABLE
        if not write_all:
            is_to_copy &= is_to_turn
        with stage("upright copies", total=int(is_to_copy.sum()), weight=len(images)) as bar:
            for i in np.flatnonzero(is_to_copy).tolist():
                quarter_turns = int(turns[split].to_upright[i]) if is_to_turn[i] else 0
                try:
                    copies.write(images.path(i), quarter_turns)
                except CannotTurnError as error:
                    written["left_out"][str(images.path(i))] = str(error)
                except OutputError as error:
                    cause = refusal(error)
                    if cause is not None and cause.errno in DISK_FULL:
                        raise  # all others would fail too
                    written["left_out"][str(images.path(i))] = str(error)
                else:
                    written["turned" if is_to_turn[i] else "copied"] += 1
                bar.advance()
    return written
