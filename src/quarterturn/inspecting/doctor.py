"""``quarterturn doctor``: look at every image before any training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quarterturn.config.options import take_options
from quarterturn.data.data_argument import split_name
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.errors import ConfigError, DataError, FindingsError
from quarterturn.files import explained, write_csv, write_json
from quarterturn.inspecting.advice import all_advice, fitting_size, pretrain_words
from quarterturn.inspecting.class_counts import count_classes
from quarterturn.inspecting.diagnosis import Diagnosis
from quarterturn.inspecting.doctor_page import doctor_page
from quarterturn.inspecting.findings import all_findings
from quarterturn.inspecting.inspection import inspect
from quarterturn.inspecting.options import DoctorOptions
from quarterturn.inspecting.repeats import find_repeats
from quarterturn.inspecting.training_cost import training_cost
from quarterturn.methods.configuration import Config
from quarterturn.pages.doctor import write_doctor
from quarterturn.pages.tables import show
from quarterturn.presets import default_preset, preset
from quarterturn.progress import stage
from quarterturn.runs import next_directory
from quarterturn.runs.closing import log_closing

logger = logging.getLogger(__name__)

PAGE, TABLE, FIGURES = "doctor.html", "doctor.csv", "doctor.json"
COLUMNS = ("finding", "level", "split", "path", "detail")


@dataclass(frozen=True)
class Examined:
    """What `doctor` found, and where it is written.

    Attributes:
        findings: Kind to number of images, files or classes; without notes.
        notes: The same of what is only worth knowing.
        page: ``doctor.html``.
        table: ``doctor.csv``, a row for each finding and image.
        figures: ``doctor.json``.
    """

    findings: dict[str, int]
    notes: dict[str, int]
    page: Path
    table: Path
    figures: Path


def doctor(
    data: Path | str,
    options: DoctorOptions | None = None,
    **fields: Any,
) -> Examined:
    """Look at every image of a collection: what is wrong, what it costs, which flags to use.

    Nothing is trained, and nothing in DATA changes.

    Args:
        data: DATA; all of its splits are looked at.
        options: Where results go, and for which recipe.
        **fields: Fields of `DoctorOptions`, in place of ``options`` or of some of its values.

    Returns:
        What was found, and where it is written.

    Raises:
        DataError: There are no images.
        ConfigError: ``out`` holds earlier results, is no folder, or lies in DATA.
        FindingsError: Something was found, and ``strict`` is on.
    """
    options = take_options(DoctorOptions, options, fields)
    data = str(data)
    name = options.preset or default_preset(data)
    recipe = _recipe(name, options)
    source = open_source(
        data,
        min_images=0,
        download=options.download,
        **options.reading | {"max_bad_fraction": 1.0},
    )
    _require_files(data, source)
    results = _results(data, source, options)
    source.log_summary(uses_all=True)
    with _folder_of(results), stage("doctor", total=source.num_indexed):
        diagnosis = _examine(data, name, recipe, source, options)
        write_csv(results.table, COLUMNS, _rows(diagnosis))
        write_json(results.figures, diagnosis.figures())
        write_doctor(results.page, doctor_page(diagnosis, results.page))
    for table in diagnosis.tables():
        show(table)
    paths = {"page": results.page, "every image": results.table, "figures": results.figures}
    log_closing(diagnosis.outcome(), paths, [diagnosis.pretrain])
    if options.strict and diagnosis.defects:
        raise FindingsError(f"{diagnosis.outcome()} (--strict); {results.table} lists them")
    return replace(
        results,
        findings={each.kind.name: len(each.finds) for each in diagnosis.defects},
        notes={each.kind.name: len(each.finds) for each in diagnosis.notes},
    )


def _require_files(data: str, source: Source) -> None:
    """Refuse DATA without a single image file; those that cannot be read are something to find.

    Raises:
        DataError: There is none.
    """
    if not any((source.num_indexed, source.unreadable, source.num_heic, source.unused)):
        others = "; ".join(source.left_out())
        raise DataError(f"{data} holds no images" + (f"; {others}" if others else ""))


def _recipe(name: str, options: DoctorOptions) -> Config:
    """The recipe that images are measured by, on this machine.

    Raises:
        ConfigError: It is none of pretrain's.
    """
    recipe = preset(name)
    if recipe.method.command != "pretrain":
        raise ConfigError(
            f"--preset {name} is one of quarterturn {recipe.method.command}; expected a recipe of "
            "pretrain, such as folder"
        )
    return recipe.with_settings(workers=options.workers, device=options.device, **options.reading)


def _examine(
    data: str, name: str, recipe: Config, source: Source, options: DoctorOptions
) -> Diagnosis:
    """Look at the images, and at what a training would cost."""
    found = inspect(source, workers=options.num_workers)
    is_open = options.preset is None and options.image_size is None
    side = options.image_size or recipe.data.image_size
    side = fitting_size(found, recipe) if is_open else side
    classes = count_classes(found)
    with stage("findings", weight=0):
        findings = all_findings(found, find_repeats(found), classes, side)
    config = recipe.with_settings(image_size=side)
    cost = training_cost(found, config, device=options.device, timed=options.timing)
    advice = all_advice(
        name,
        found,
        findings,
        classes,
        cost,
        recipe_size=preset(name).data.image_size,
        max_bad_fraction=options.max_bad_fraction,
    )
    words = pretrain_words(data, name, options.preset is None, advice)
    return Diagnosis(data, name, found, findings, classes, side, cost, advice, words)


def _results(data: str, source: Source, options: DoctorOptions) -> Examined:
    """The files to write, refused where they are another's or lie in DATA.

    Raises:
        ConfigError: They are there already, or the folder cannot be one of results.
    """
    folder = options.out or next_directory(f"doctor-{source.name}", Path())
    named = split_name(data)
    root = (Path(data).expanduser() if named is None else named.root).resolve()
    if root.is_dir() and folder.resolve().is_relative_to(root):
        raise ConfigError(
            f"results would be written to {folder}, which is in DATA ({data}): give --out DIR, a "
            "folder outside it"
        )
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; expected a folder, which is made if need be")
    results = Examined({}, {}, *(folder / name for name in (PAGE, TABLE, FIGURES)))
    for path in (results.page, results.table, results.figures):
        if path.exists() and not options.overwrite:
            raise ConfigError(f"{path} exists; choose another --out, or give --overwrite")
    return results


@contextmanager
def _folder_of(results: Examined) -> Iterator[None]:
    """Make the folder of the results; where it stays empty, an interruption takes it away again."""
    folder = results.page.parent
    is_new = not folder.exists()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):  # something has been written
                folder.rmdir()
        raise


def _rows(diagnosis: Diagnosis) -> Iterator[tuple[str, ...]]:
    """The lines of the csv file; what most images have in common is not listed."""
    for finding in diagnosis.findings:
        level = "note" if finding.is_note else "finding"
        for find in () if diagnosis.is_common(finding) else finding.finds:
            yield finding.kind.name, level, find.split, find.name, find.detail
