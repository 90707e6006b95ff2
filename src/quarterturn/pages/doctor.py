"""The page of ``quarterturn doctor``: what is wrong with a collection, in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from quarterturn.files import write_bytes
from quarterturn.pages.exploration import Shown
from quarterturn.pages.measures import Measure
from quarterturn.pages.page import data_uri, new_environment
from quarterturn.pages.sprite import Sprite
from quarterturn.pages.tables import Table

TEMPLATE = "doctor.html"


@dataclass(frozen=True)
class FindingShown:
    """What was found of one kind.

    Attributes:
        name: In the csv file.
        title: Heading.
        number: How many there are.
        meaning: What it means for a training.
        pictures: Some of the images.
        pairs: Some of the images, each with the one that it repeats, in place of ``pictures``.
        listed: Name and reason of what has no picture.
    """

    name: str
    title: str
    number: int
    meaning: str
    pictures: Sequence[Shown] = ()
    pairs: Sequence[Sequence[Shown]] = ()
    listed: Sequence[tuple[str, str]] = ()

    @property
    def num_shown(self) -> int:
        """How many of them are on the page."""
        return len(self.pictures) + len(self.pairs) + len(self.listed)


@dataclass(frozen=True)
class DoctorPage:
    """What to know of a collection before a training.

    Attributes:
        title: Heading, and the browser's title.
        date: When it was made.
        summary: Sentences of the first paragraph.
        measures: Counts, each explained.
        findings: Worst first.
        notes: What is only worth knowing.
        facts: What was left out and ignored, a line each.
        tables: Of the images.
        cost: What a training takes.
        advice: What to do, each with its reason; None where there is nothing.
        command: The advised command.
        plates: The pictures of all lists.
        how: How it was found, a sentence each.
    """

    title: str
    date: str
    summary: Sequence[str]
    measures: Sequence[Measure]
    findings: Sequence[FindingShown]
    notes: Table | None
    facts: Sequence[str]
    tables: Sequence[Table]
    cost: Table
    advice: Table | None
    command: str
    plates: Sprite
    how: Sequence[str]


def write_doctor(path: Path, page: DoctorPage, known: Sequence[str] = ()) -> None:
    """Write the page, atomically.

    Args:
        path: The file.
        page: What it says.
        known: Paths that are not to be shown, as for `quarterturn.runs.facts.without_folders`.
    """
    write_bytes(path, render_doctor(page, known).encode(errors="replace"))


def render_doctor(page: DoctorPage, known: Sequence[str] = ()) -> str:
    """The page as HTML; everything that comes from the page is escaped."""
    environment = new_environment(known)
    environment.globals.update(
        plates_uri=data_uri(page.plates.jpeg, "jpeg"),
        href=Markup.escape,  # a link is kept whole, as no text is in which to look for paths
    )
    return environment.get_template(TEMPLATE).render(page=page)
