"""One HTML file that holds a whole report and needs nothing else: no network, no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from quarterturn.features.gallery import Gallery
from quarterturn.files import write_bytes
from quarterturn.orientation.upright_sheets import BARS, Sheet
from quarterturn.pages.figures import Figure
from quarterturn.pages.tables import Table, number, percent
from quarterturn.pages.words import PARTS, Measure
from quarterturn.pretraining.imbalance_sheet import ImbalanceSheet

LONG_LIST = 5
"""A list of files longer than this is folded."""


@dataclass(frozen=True)
class Headings:
    """What the sections are called that a page of any command has; by default, of a training.

    Attributes:
        facts: Above what the data held.
        results: Above the measures and the tables.
        measured: A sentence between them: where the measures are from.
        figures: Above the charts.
    """

    facts: str = "What it was trained on"
    results: str = "What it learned"
    measured: str = (
        "Measured on images that were held out of the training, without labels, after the last "
        "epoch."
    )
    figures: str = "How the training went"


@dataclass(frozen=True)
class Page:
    """What the page says, from its top to its end; what is empty is left out.

    Attributes:
        title: Heading, and the browser's title.
        date: When it was written.
        command: The command line that made it.
        summary: Sentences of the first paragraph.
        warnings: What the reader must not overlook.
        headings: What its sections are called.
        facts: What was read, left out and ignored, a line each.
        unreadable: Image files that could not be read, with the reason.
        measures: Figures of merit, each explained.
        tables: Results.
        words: Words that the page uses, each explained.
        figures: Charts.
        gallery: Pictures, and what the network says of them.
        sheets: Pictures in groups, with their upright probabilities.
        imbalance: How unevenly the collection is spread.
        times: How long it took: name and value.
        settings: Group to name to value.
        environment: Versions, device and so on; perhaps nested.
    """

    title: str
    date: str
    command: str
    summary: Sequence[str] = ()
    warnings: Sequence[str] = ()
    headings: Headings = Headings()
    facts: Sequence[str] = ()
    unreadable: dict[str, str] = field(default_factory=dict)
    measures: Sequence[Measure] = ()
    tables: Sequence[Table] = ()
    words: Sequence[tuple[str, str]] = ()
    figures: Sequence[Figure] = ()
    gallery: Gallery | None = None
    sheets: Sequence[Sheet] = ()
    imbalance: ImbalanceSheet | None = None
    times: Sequence[tuple[str, str]] = ()
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)


def write_page(path: Path, page: Page) -> None:
    """Write the page, atomically."""
    # File names on Linux need not be Unicode; what is not shows as a question mark.
    write_bytes(path, render(page).encode(errors="replace"))


def render(page: Page) -> str:
    """The page as HTML. Everything that comes from the page is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        percent=percent, number=number, png=png_uri, picture=picture_uri, setting=format_setting
    )
    source = resources.files("quarterturn.pages").joinpath("template.html").read_text("utf-8")
    return environment.from_string(source).render(
        page=page, part_names=PARTS, long_list=LONG_LIST, degrees=[0, 90, 180, 270], bars=BARS
    )


def png_uri(png: bytes) -> str:
    """A PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def picture_uri(image: Image.Image) -> str:
    """A picture as a data URI: PNG for a few flat pixels, JPEG for a photo, what is smaller."""
    as_png, as_jpeg = io.BytesIO(), io.BytesIO()
    image.save(as_png, "PNG", optimize=True)
    image.save(as_jpeg, "JPEG", quality=85)
    if as_png.tell() <= as_jpeg.tell():
        return png_uri(as_png.getvalue())
    return "data:image/jpeg;base64," + base64.b64encode(as_jpeg.getvalue()).decode()


def format_setting(value: object) -> str:
    """A setting as a user writes it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(format_setting(item) for item in value) or "none"
    return str(value)
