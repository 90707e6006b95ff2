"""The report of an upright run: from what its networks say to one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from quarterturn.data.imageset import ImageSet
from quarterturn.orientation.ablation import Variant
from quarterturn.orientation.networks import fold_run
from quarterturn.orientation.upright_figures import agnostic_histogram, reliability_diagram
from quarterturn.orientation.upright_sheets import upright_sheets
from quarterturn.orientation.upright_table import UprightTable
from quarterturn.orientation.upright_tables import collection_scores, measure_variant
from quarterturn.orientation.upright_words import UPRIGHT_WORDS, upright_measures
from quarterturn.pages.figures import save_figure
from quarterturn.pages.page import Headings
from quarterturn.pages.run_page import write_run_page
from quarterturn.pages.tables import Table, number
from quarterturn.progress import duration
from quarterturn.runs import Run

HEADINGS = Headings(
    facts="What it was asked about",
    results="What it found",
    measured="Each image was scored by a network that has not seen it, without labels.",
    figures="The scores, and how far to trust them",
)


def write_upright_report(
    run: Run,
    images: ImageSet,
    table: UprightTable,
    variants: Sequence[Variant],
    *,
    tables: Sequence[Table],
    source_lines: Sequence[str],
    unreadable: dict[str, str],
    warnings: Sequence[str],
    command: str,
) -> Path:
    """Write an upright run's figures and its ``report.html``.

    Args:
        run: The run; how long its networks took is read from the folds' metrics.
        images: The N images.
        table: What is said of them.
        variants: See `quarterturn.orientation.ablation.list_variants`.
        tables: Results.
        source_lines: What the data held, a line each.
        unreadable: Image files that could not be read, with the reason.
        warnings: What the reader must not overlook.
        command: The command line, as the user wrote it.

    Returns:
        The page's path.
    """
    scores = collection_scores(table)
    charts = [agnostic_histogram(table.agnostic[table.scored]), reliability_diagram(variants)]
    sheets = upright_sheets(images, table, run.config.data)
    for figure in [*charts, *(sheet.figure for sheet in sheets)]:
        save_figure(run.figures, figure)
    used = next(variant for variant in variants if variant.in_use)
    return write_run_page(
        run,
        name="Upright or not",
        source_lines=source_lines,
        warnings=warnings,
        command=command,
        headings=HEADINGS,
        summary=_summary(run, scores["images"]),
        unreadable=unreadable,
        measures=upright_measures(scores, measure_variant(used)),
        tables=tables,
        words=UPRIGHT_WORDS,
        figures=charts,
        sheets=sheets,
        times=_times(run, used),
    )


def _summary(run: Run, num_images: int) -> list[str]:
    side, backbone = run.config.data.image_size, run.config.model.backbone
    return [
        f"{num_images:,} images were asked whether they have an “up”, and whether they are stored "
        "that way.",
        f"{run.config.upright.folds} rotation networks ({backbone} on crops of {side} by {side} "
        "pixels) have learned to tell by which quarter turn an image is turned, each from a part "
        "of the images, and were asked about the others.",
    ]


def _times(run: Run, used: Variant) -> list[tuple[str, str]]:
    folds = [replace(run, path=fold_run(run.path, k)) for k in range(run.config.upright.folds)]
    validation = [fold.read_metrics("validation") for fold in folds]
    times = [("views and temperature", f"{used.name}, {number(used.temperature)}")]
    if all(validation):
        seconds = sum(lines[-1]["elapsed_s"] for lines in validation)
        best = [min(lines, key=lambda line: line["loss"])["epoch"] for lines in validation]
        times += [
            ("training of the networks, validation included", duration(seconds)),
            ("epochs trained", ", ".join(str(lines[-1]["epoch"]) for lines in validation)),
            ("epoch used", ", ".join(map(str, best))),
        ]
    return times
