"""``quarterturn orient``: which way is up, image by image, for review, and upright copies."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quarterturn.config.options import take_options
from quarterturn.data.data_argument import locate, short_name
from quarterturn.data.imageset import FileImages
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError
from quarterturn.files import explained, write_json
from quarterturn.orientation.options import OrientOptions
from quarterturn.orientation.orient_tables import orient_table
from quarterturn.orientation.predicted_turns import orient_images, run_to_orient_by
from quarterturn.orientation.reviewed_turns import ReviewedTurns, read_reviewed
from quarterturn.orientation.turn_review import estimate_quality, quality_table, review_page
from quarterturn.orientation.turn_table import Verdicts, write_turns
from quarterturn.orientation.turns import TURN, UNREADABLE, Turns
from quarterturn.orientation.written_copies import require_whole, upright_copies, write_copies
from quarterturn.pages.tables import show
from quarterturn.pages.turn_review import write_turn_review
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.closing import command, log_closing, log_unreadable
from quarterturn.runs.facts import folders_of
from quarterturn.runs.lock import locking_its_run
from quarterturn.weights.start import run_directory

logger = logging.getLogger(__name__)

PAGE, TABLE, FIGURES = "orient.html", "orient.csv", "orient.json"


@dataclass(frozen=True)
class _Results:
    """The files to write."""

    page: Path
    table: Path
    figures: Path


@locking_its_run
def orient(
    run: Path | str,
    data: Path | str | None = None,
    options: OrientOptions | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Tell the turn that brings each image upright, how probable it is, or that there is no "up".

    Args:
        run: Any run that predicts turns: of ``upright``, or of ``pretrain`` by a method with a
            rotation head; where that holds an ``upright`` run, it is the one that is used.
        data: DATA; by default the run's, all of it, also where the run had a ``--limit``. All of
            its splits are oriented.
        options: What to write, and from which scores on an image is turned. With ``apply``, a
            reviewed csv says what is turned, and nothing is predicted.
        **fields: Fields of `OrientOptions`, in place of ``options`` or of some of its values.

    Returns:
        The figures: ``counts`` by verdict and by how the images were scored, the estimated
        ``shares`` of images stored in each turn, the rotation ``accuracy``, the expected
        ``quality`` by probability, ``page`` and ``table``, and ``written``, None without ``write``.
        With ``apply``, only ``run``, ``data``, ``name`` and ``written``.

    Raises:
        ConfigError: The run predicts no turns, or is a file of weights; a file or folder is in the
            way; a threshold is no fraction.
        DataError: The reviewed csv is about other images, or out of date, or makes no sense.
        OutputError: Some copies could not be written; all others are.
    """
    options = take_options(OrientOptions, options, fields)
    if run_directory(run) is None:
        raise ConfigError(
            f"{run} holds weights, and turns are predicted by a run with a rotation head: "
            f"quarterturn upright {data or 'DATA'} --from {run}, and then orient that run"
        )
    opened = Run.open(run)
    by = run_to_orient_by(opened)
    results = None if options.apply is not None else _results(opened, options, data)
    place = opened.data_or_own(data)
    source = open_source(
        place, index=opened.index, min_images=1, **options.reading_as(by.config.data)
    )
    if options.apply is not None:
        return _apply(opened, place, source, options.apply, options)
    assert results is not None
    return _predict(opened, by, place, source, results, options)


def _apply(
    run: Run, data: str, source: Source, reviewed: Path, options: OrientOptions
) -> dict[str, Any]:
    """Write the copies that a reviewed csv asks for."""
    assert options.write is not None
    source.log_summary(uses_all=True)
    turns = read_reviewed(reviewed, source)
    copies = upright_copies(data, source, options)
    with stage("orient", total=source.num_indexed):
        written = write_copies(copies, source, turns, write_all=options.write_all)
    log_closing(
        f"{written['turned']:,} turned and {written['copied']:,} plain copies written, by "
        f"{reviewed}",
        {"upright copies": copies.folder},
        [("pretrain", copies.folder)],
    )
    require_whole(written)
    return {"run": str(run.path), "data": data, "name": source.name, "written": written}


def _predict(
    opened: Run,
    by: Run,
    data: str,
    source: Source,
    results: _Results,
    options: OrientOptions,
) -> dict[str, Any]:
    """Predict turns, lay them out for review, and write the copies that are asked for."""
    source.log_summary(uses_all=True)
    copies = None if options.write is None else upright_copies(data, source, options)
    num_images = sum(map(len, source.all_splits.values()))
    written = None
    with stage("orient", total=num_images * (1 if copies is None else 2)):
        found = orient_images(
            by,
            source.all_splits,
            data,
            device=Runtime(options.device, "32-true", single=True).device,
            workers=options.num_workers,
        )
        reading = found.reading
        verdicts = {
            split: turns.verdicts(options.agnostic, options.confidence)
            for split, turns in reading.turns.items()
        }
        result = {
            "run": str(opened.path),
            "oriented_by": str(by.path),
            "data": data,
            "name": source.name,
            "agnostic": options.agnostic,
            "confidence": options.confidence,
            "learned_is_known": found.learned_is_known,
            "images": num_images + len(source.unreadable),
            "counts": _counts(source, reading.turns, verdicts),
            "shares": reading.shares.tolist(),
            "exponent": reading.exponent,
            "accuracy": reading.accuracy,
            "quality": estimate_quality(reading.turns, verdicts),
            "caveat": reading.caveat(),
            "doubt": reading.doubt(),
            "page": str(results.page),
            "table": str(results.table),
            "written": None,
        }
        write_turns(results.table, source, reading.turns, verdicts)
        if copies is not None:
            written = write_copies(
                copies,
                source,
                _to_turn(reading.turns, verdicts),
                unreadable={
                    split: {i for i, each in enumerate(of_split) if each == UNREADABLE}
                    for split, of_split in verdicts.items()
                },
                write_all=options.write_all,
            )
            result["written"] = written
        write_json(results.figures, result)
        table = orient_table(result)
        page = review_page(
            reading,
            source,
            verdicts,
            by.config.data,
            results.page,
            confidence=options.confidence,
            command=command(*_apply_words(opened, data, Path(TABLE))),
            tables=[table],
        )
        write_turn_review(results.page, page, folders_of(opened))
    show(table)
    if reading.tells:
        show(quality_table(reading.turns, verdicts))
    for words in (reading.caveat(), reading.doubt()):
        if words:
            logger.info(words)
    log_unreadable(_unreadable(source, verdicts), results.table)
    _log_closing(opened, by, source, data, results, copies is not None, options)
    if written is not None:
        require_whole(written)
    return result


def _results(run: Run, options: OrientOptions, data: Path | str | None) -> _Results:
    """The files to write, refused where they are another's.

    Raises:
        ConfigError: They are there already, or the folder cannot be made.
    """
    is_own = data is None or locate(str(data)) == run.data
    own = run.path if is_own else run.path / f"orient-{short_name(str(data))}"
    folder = options.out or own
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; expected a folder, which is made if need be")
    results = _Results(folder / PAGE, folder / TABLE, folder / FIGURES)
    if options.out is not None and not options.overwrite:
        for path in (results.page, results.table, results.figures):
            if path.exists():
                raise ConfigError(f"{path} exists; choose another --out, or give --overwrite")
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return results


def _to_turn(turns: Mapping[str, Turns], verdicts: Verdicts) -> ReviewedTurns:
    """What is turned without a review."""
    words = {word: turn for turn, word in TURN.items()}
    return {
        split: {i: words[each] for i, each in enumerate(of_split) if each in words}
        for split, of_split in verdicts.items()
    }


def _unreadable(source: Source, verdicts: Verdicts) -> dict[str, str]:
    undecoded = {
        source.file_of(split, images.names[i]): "could not be decoded"
        for split, images in source.all_splits.items()
        for i, verdict in enumerate(verdicts[split])
        if verdict == UNREADABLE
    }
    return source.unreadable | undecoded


def _apply_words(run: Run, data: str, table: Path) -> tuple[object, ...]:
    images = () if data == run.data else (data,)
    return ("orient", run.path, *images, "--apply", table, "--write", "UPRIGHT")


def _log_closing(
    opened: Run,
    by: Run,
    source: Source,
    data: str,
    results: _Results,
    has_copies: bool,
    options: OrientOptions,
) -> None:
    files = {"page to review": results.page, "turns": results.table}
    commands: list[tuple[object, ...]] = []
    if has_copies:
        assert options.write is not None
        files["upright copies"] = options.write
        commands.append(("pretrain", options.write))
    elif isinstance(source.train, FileImages):
        commands.append(_apply_words(opened, data, results.table))
    if by.kind == "upright":
        commands.append(("pretrain", data, "--upright", by.path))
    else:
        commands.append(("upright", data))
    count = sum(map(len, source.all_splits.values())) + len(source.unreadable)
    log_closing(f"which way is up in {count:,} images, by {by.path}", files, commands)


def _counts(
    source: Source, turns: Mapping[str, Turns], verdicts: Verdicts
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
