"""One HTML file that holds a whole page and needs nothing else: no network, no script."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from quarterturn.files import write_bytes
from quarterturn.pages.contact_sheet import BARS
from quarterturn.pages.figures import Figure
from quarterturn.pages.glossary import meaning_of
from quarterturn.pages.measures import PARTS, Measure
from quarterturn.pages.tables import Table, number, percent
from quarterturn.runs.facts import without_folders
from quarterturn.runs.pictures import FOLDER, CollectionPictures, Gallery, Picture, Sheet

LONG_LIST = 5
"""A list of files longer than this is folded."""


@dataclass(frozen=True)
class ImagesSection:
    """What the images are like, and what was found first; what is empty is left out.

    Attributes:
        facts: What was read, left out and ignored, a line each.
        unreadable: Image files that could not be read, with the reason.
        measures: Figures of the collection, each explained.
        figures: Charts of the collection.
        collection: Kinds of images, rare ones, near-duplicates.
        sheets: Pictures in groups, with their upright probabilities.
        tables: Further figures.
    """

    facts: Sequence[str] = ()
    unreadable: dict[str, str] = field(default_factory=dict)
    measures: Sequence[Measure] = ()
    figures: Sequence[Figure] = ()
    collection: CollectionPictures | None = None
    sheets: Sequence[Sheet] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class ResultsSection:
    """How well it works.

    Attributes:
        measured: A sentence on where the measures are from.
        measures: Figures of merit, each explained.
        tables: Results.
        figures: Charts of results.
    """

    measured: str = ""
    measures: Sequence[Measure] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()


@dataclass(frozen=True)
class TrainingSection:
    """How it was trained, for whoever wants to know; folded.

    Attributes:
        measures: What the training did to the features, each explained.
        tables: Further figures.
        figures: Curves over the epochs.
        times: How long it took: name and value.
        settings: Group to name to value.
        environment: Versions, device and so on; perhaps nested.
        command: The command line.
        words: Words of the page, each with its meaning.
    """

    measures: Sequence[Measure] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    times: Sequence[tuple[str, str]] = ()
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    words: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Page:
    """The page of a run, from its top to its end.

    Attributes:
        title: Heading, and the browser's title.
        date: When the run was finished; empty where that is not known.
        summary: Sentences of the first paragraph.
        warnings: What the reader must not overlook.
        images: What the images are like.
        results: How well it works.
        gallery: Pictures, and what the network says of them.
        training: How it was trained.
    """

    title: str
    date: str = ""
    summary: Sequence[str] = ()
    warnings: Sequence[str] = ()
    images: ImagesSection = ImagesSection()
    results: ResultsSection = ResultsSection()
    gallery: Gallery | None = None
    training: TrainingSection = TrainingSection()


@dataclass(frozen=True)
class ComparisonPage:
    """Runs side by side.

    Attributes:
        title: Heading, and the browser's title.
        date: When it was made.
        summary: Sentences of the first paragraph.
        tables: Scores by protocol, and the trainings.
        figures: Curves of all runs.
        words: Words of the tables, each with its meaning.
        notes: What was left out, a line each.
    """

    title: str
    date: str
    summary: Sequence[str]
    tables: Sequence[Table]
    figures: Sequence[Figure]
    words: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


def write_page(path: Path, page: Page | ComparisonPage, known: Sequence[str] = ()) -> None:
    """Write a page, atomically.

    Args:
        path: The file; pictures are read from the folder ``pictures`` beside it.
        page: What it says.
        known: Paths that are not to be shown, as for `quarterturn.runs.facts.without_folders`.
    """
    # File names on Linux need not be Unicode; what is not shows as a question mark.
    write_bytes(path, render(page, path.parent / FOLDER, known).encode(errors="replace"))


def render(
    page: Page | ComparisonPage, pictures: Path = Path(FOLDER), known: Sequence[str] = ()
) -> str:
    """A page as HTML.

    Everything that comes from the page is escaped, and absolute paths are cut to their last name,
    at one place each: when a value is put into the template.

    Args:
        page: What it says.
        pictures: Folder of its pictures.
        known: Paths that are not to be shown.
    """
    environment = new_environment(known)
    environment.globals.update(
        part_names=PARTS,
        degrees=[0, 90, 180, 270],
        bars=BARS,
        picture_uri=lambda picture: picture_uri(pictures, picture),
    )
    name = "comparison.html" if isinstance(page, ComparisonPage) else "run.html"
    return environment.get_template(name).render(page=page)


def new_environment(known: Sequence[str] = ()) -> jinja2.Environment:
    """Where templates find each other and their filters.

    Args:
        known: Paths that are not to be shown.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("quarterturn.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown(known),
    )
    environment.filters.update(
        percent=percent, number=number, png=png_uri, setting=format_setting, explained=explained
    )
    environment.globals.update(long_list=LONG_LIST)
    return environment


def png_uri(png: bytes) -> Markup:
    """A PNG as a data URI."""
    return data_uri(png, "png")


def picture_uri(folder: Path, picture: Picture) -> Markup:
    """A stored picture as a data URI; empty where its file is gone."""
    file = folder / Path(picture.file).name
    try:
        return data_uri(file.read_bytes(), "png" if file.suffix == ".png" else "jpeg")
    except OSError:
        return Markup("data:,")


def explained(text: str) -> Markup:
    """A heading or name with its meaning as a tooltip, where it is a word of the field."""
    meaning = meaning_of(text)
    if meaning is None:
        return escape(text)
    return Markup('<abbr tabindex="0" title="{}">{}</abbr>').format(meaning, text)


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


def data_uri(contents: bytes, kind: str) -> Markup:
    """A picture's file as a data URI."""
    # Markup: nothing in it needs escaping, and it is no text in which to look for paths.
    return Markup(f"data:image/{kind};base64,{base64.b64encode(contents).decode()}")


def href_to(file: Path, folder: Path) -> str:
    """A link to a file from a page in a folder: relative, so that both may move together."""
    target, start = os.path.abspath(file), os.path.abspath(folder)
    try:
        target = os.path.relpath(target, start)
    except ValueError:  # another drive
        return Path(target).as_uri()
    return quote(os.fsencode(target.replace(os.sep, "/")))


def _shown(known: Sequence[str]) -> Callable[[object], object]:
    def without_paths(value: object) -> object:
        if isinstance(value, str) and not isinstance(value, Markup):
            return without_folders(value, known)
        return value

    return without_paths
