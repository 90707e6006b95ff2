"""The page of ``quarterturn duplicates``: groups of images that show the same picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from quarterturn.files import write_bytes
from quarterturn.pages.exploration import GroupShown
from quarterturn.pages.measures import Measure
from quarterturn.pages.page import data_uri, new_environment
from quarterturn.pages.sprite import Sprite

TEMPLATE = "duplicates.html"


@dataclass(frozen=True)
class DuplicatesPage:
    """The duplicates in a collection.

    Attributes:
        title: Heading, and the browser's title.
        date: When it was made.
        summary: Sentences of the first paragraph.
        measures: Counts, each explained.
        facts: What was read, left out and ignored, a line each.
        unreadable: Files that could not be read, with the reason.
        plates: The pictures of all groups.
        groups: As many as are shown.
        num_groups: How many there are.
        how: How the page was made, a sentence each.
    """

    title: str
    date: str
    summary: Sequence[str]
    measures: Sequence[Measure]
    facts: Sequence[str]
    unreadable: dict[str, str]
    plates: Sprite
    groups: Sequence[GroupShown]
    num_groups: int
    how: Sequence[str]


def write_duplicates(
    path: Path, page: DuplicatesPage, table: str, known: Sequence[str] = ()
) -> None:
    """Write the page, atomically.

    Args:
        path: The file.
        page: What it says.
        table: Name of the file that lists all groups.
        known: Paths that are not to be shown, as for `quarterturn.runs.facts.without_folders`.
    """
    environment = new_environment(known)
    environment.globals.update(
        plates_uri=data_uri(page.plates.jpeg, "jpeg"),
        table_name=table,
        href=Markup.escape,  # a link is kept whole, as no text is in which to look for paths
    )
    text = environment.get_template(TEMPLATE).render(page=page)
    write_bytes(path, text.encode(errors="replace"))
