"""The page of ``quarterturn neighbors`` for many queries: each with the images most like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from quarterturn.files import write_bytes
from quarterturn.pages.exploration import Shown
from quarterturn.pages.page import data_uri, new_environment
from quarterturn.pages.sprite import Sprite

TEMPLATE = "neighbors.html"


@dataclass(frozen=True)
class QueryShown:
    """A query.

    Attributes:
        picture: The query itself.
        nearest: What was found, most alike first.
    """

    picture: Shown
    nearest: Sequence[Shown]


@dataclass(frozen=True)
class NeighborsPage:
    """What was found.

    Attributes:
        title: Heading, and the browser's title.
        date: When it was made.
        summary: Sentences of the first paragraph.
        queries: As many as are shown.
        num_queries: How many there are.
        refused: Queries that are no images, with the reason.
        table: Name of the csv file.
        plates: The pictures.
        how: How it was found.
    """

    title: str
    date: str
    summary: Sequence[str]
    queries: Sequence[QueryShown]
    num_queries: int
    refused: dict[str, str]
    table: str
    plates: Sprite
    how: str


def write_neighbors(path: Path, page: NeighborsPage, known: Sequence[str] = ()) -> None:
    """Write the page, atomically; everything that comes from it is escaped.

    Args:
        path: The file.
        page: What it says.
        known: Paths that are not to be shown, as for `quarterturn.runs.facts.without_folders`.
    """
    environment = new_environment(known)
    environment.globals.update(
        plates_uri=data_uri(page.plates.jpeg, "jpeg"),
        href=Markup.escape,  # a link is kept whole, as no text is in which to look for paths
    )
    html = environment.get_template(TEMPLATE).render(page=page)
    write_bytes(path, html.encode(errors="replace"))
