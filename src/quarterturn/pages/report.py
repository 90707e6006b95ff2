"""A run's page, made from its directory only."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from quarterturn.errors import CheckpointError
from quarterturn.pages.figures import save_figure
from quarterturn.pages.glossary import glossary
from quarterturn.pages.images_section import SUMMARY, images_section
from quarterturn.pages.page import Page, write_page
from quarterturn.pages.results_section import results_section, solved_words
from quarterturn.pages.training_section import training_section
from quarterturn.progress import duration
from quarterturn.runs import Run
from quarterturn.runs.facts import folders_of, read_facts
from quarterturn.runs.pictures import Gallery, read_pictures

logger = logging.getLogger(__name__)

REPORT = "report.html"
GALLERY = "gallery"


def write_report(run: Run) -> Path:
    """Write ``RUN/report.html``, and the figures that are drawn for it.

    Everything on it comes from files under RUN: ``config.json``, ``environment.json``,
    ``facts.json``, ``items.csv``, ``metrics.jsonl``, ``results.json``, ``summary.json``, and the
    folders ``figures``, ``pictures`` and ``probes``. No network runs and no image of the collection
    is read. What is missing is left out, so runs of earlier versions have a page too.

    Returns:
        The page's path.

    Raises:
        CheckpointError: A file is damaged, or does not hold what a page is made of.
    """
    path = run.path / REPORT
    try:
        page = run_page(run)
        for figure in [*page.results.figures, *page.training.figures]:
            save_figure(run.figures, figure)
        write_page(path, page, folders_of(run))
    # A name that is missing in one of these files, or a value of another type, shows up anywhere.
    except (LookupError, TypeError, ValueError, AttributeError, TemplateError) as error:
        logger.debug("traceback", exc_info=True)
        raise CheckpointError(
            f"a file of {run.path} does not hold what a page is made of "
            f"({type(error).__name__}: {error}): one of its .json files may have been edited or "
            "damaged; put back what was there, or delete it"
        ) from error
    return path


def refresh_report(run: Run) -> Path | None:
    """`write_report` at the end of a command, which a page must never make fail.

    Returns:
        The page's path; None where it could not be made, which is logged.
    """
    with never_fatal("the page", run):
        return write_report(run)
    return None


@contextmanager
def never_fatal(what: str, run: Run) -> Iterator[None]:
    """Log what goes wrong with an extra, once the results are safe, and carry on.

    Args:
        what: The extra, in words.
        run: The run whose page lacks it.
    """
    try:
        yield
    except Exception as error:  # whatever it is: hours of training lie behind us
        logger.warning(
            "%s could not be made (%s: %s); the results are safe. Make the page again with: "
            "quarterturn report %s",
            what,
            type(error).__name__,
            error,
            run.path,
        )
        logger.debug("traceback", exc_info=True)


def run_page(run: Run) -> Page:
    """What the page of a run says."""
    facts = read_facts(run.path)
    train, diagnostics = run.read_metrics("train"), run.read_metrics("diagnostics")
    images, results = images_section(run, facts), results_section(run, diagnostics)
    training = training_section(run, facts, train, diagnostics)
    words = glossary([*images.tables, *results.tables], [*images.measures, *results.measures])
    return Page(
        title=_title(run),
        date=facts.finished,
        summary=_summary(run, train),
        warnings=[sentence(warning) for warning in facts.warnings],
        images=images,
        results=results,
        gallery=read_pictures(run.path, GALLERY, Gallery),
        training=replace(training, words=words),
    )


def sentence(text: str) -> str:
    """Words with a capital at their beginning and a stop at their end."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def _title(run: Run) -> str:
    name = "Upright or not" if run.kind == "upright" else run.config.method.title
    if run.data is None:
        return f"{run.config.model.backbone}, trained elsewhere"
    return f"{name} on {Path(run.data).name or run.data}"


def _summary(run: Run, train: Sequence[dict[str, Any]]) -> list[str]:
    method = run.config.method
    side, backbone = run.config.data.image_size, run.config.model.backbone
    if run.kind == "upright":
        return [
            f"Do {run.read_json(SUMMARY)['scores']['images']:,} images have an “up”, and are they "
            "stored that way?",
            f"{run.config.upright.folds} rotation networks ({backbone} on crops of {side} by "
            f"{side} pixels) were trained to predict by which quarter turn an image is turned, "
            "each on a part of the images, and then asked about the others.",
        ]
    if (solved := solved_words(run)) is not None:
        start = run.began_with or "random weights"
        return [f"A {backbone} with {start}, on crops of {side} by {side} pixels.", solved]
    if not train and not run.untrained:
        start = run.began_with or "the weights of its file"
        return [f"A {backbone} with {start}: no epoch was trained here."]
    if not train:
        return [
            f"An untrained {backbone}, a baseline: no epoch was trained, so every figure below "
            f"says what its random weights give on crops of {side} by {side} pixels."
        ]
    length = train[-1]["step" if method.counts_iterations else "epoch"] + 1
    unit = "iteration" if method.counts_iterations else "epoch"
    labels = "with labels" if method.reads_labels else "without labels"
    return [
        f"A {backbone} trained {labels} by {method.title} for {length:,} "
        f"{unit if length == 1 else f'{unit}s'}, on {method.images_in_words(side)}, in "
        f"{duration(train[-1]['elapsed_s'])}.",
        sentence(f"With this method, {method.meaning}."),
        *([f"It began with {run.began_with}."] if run.start is not None else []),
    ]
