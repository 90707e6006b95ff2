"""The page of ``quarterturn explore``: a map of a collection, and what was found in it.

Like every page it is one file that needs no network. It has a script of its own, whose hash its
content security policy names: no other script can run in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from quarterturn.files import write_bytes
from quarterturn.pages.measures import Measure
from quarterturn.pages.page import data_uri, new_environment
from quarterturn.pages.sprite import Sprite
from quarterturn.pages.tables import Table

TEMPLATE, SCRIPT = "explore.html", "explore.js"


@dataclass(frozen=True)
class Shown:
    """A picture on the page.

    Attributes:
        name: Name of the image in full.
        href: Where its file is, from the page; empty where it has none.
        plate: Its number in the sprite of large pictures.
        note: What is said of it.
        wide: Share of the plate's width that the picture takes, from the left.
        high: Share of its height, from the top.
    """

    name: str
    href: str
    plate: int
    note: str = ""
    wide: float = 1.0
    high: float = 1.0


@dataclass(frozen=True)
class KindShown:
    """A cluster.

    Attributes:
        number: From 1, the largest.
        size: Images in it.
        share: Of all images.
        labels: Its most frequent labels with their share, in words; empty without labels.
        examples: The most central one first.
    """

    number: int
    size: int
    share: float
    labels: str
    examples: Sequence[Shown]


@dataclass(frozen=True)
class GroupShown:
    """A group of duplicates.

    Attributes:
        words: What kinds of copies they are.
        pictures: The one to which the others are compared, then these.
    """

    words: str
    pictures: Sequence[Shown]


@dataclass(frozen=True)
class TurnedShown:
    """A photo that is probably stored turned.

    Attributes:
        picture: The photo as it is stored.
        turn: Quarter turns, counter-clockwise, that bring it upright.
        probability: That it is stored turned in this way.
    """

    picture: Shown
    turn: int
    probability: float


@dataclass(frozen=True)
class Colouring:
    """What the colours of the map may say.

    Attributes:
        name: What it is, in a word or two.
        values: One for each point: a number of a word, or a fraction.
        words: Of a division into groups, from the first; empty for fractions.
        low: What a fraction of 0 means.
        high: What a fraction of 1 means.
        before: What stands before a fraction, as in "top 3 %".
    """

    name: str
    values: Sequence[float]
    words: Sequence[str] = ()
    low: str = ""
    high: str = ""
    before: str = ""


@dataclass(frozen=True)
class Folder:
    """Where the files of a split are.

    Attributes:
        href: The folder, from the page.
        prefix: What names on the page begin with that names in the folder do not.
    """

    href: str
    prefix: str = ""


@dataclass(frozen=True)
class MapShown:
    """The points of the map.

    Attributes:
        names: Of the images.
        x: Places from the left, from 0 to 1.
        y: Places from the top.
        folders: Where the files of each split are; None where they are no files.
        splits: For each point the number of its split in ``folders``.
        hrefs: Number of a point to where its file is, where folder and name do not say it.
        colourings: What the colours may say; the first at the beginning.
        tiles: A small picture of each point.
        left_out: Images that are not on the map.
    """

    names: Sequence[str]
    x: Sequence[float]
    y: Sequence[float]
    folders: Sequence[Folder | None]
    splits: Sequence[int]
    hrefs: dict[int, str]
    colourings: Sequence[Colouring]
    tiles: Sprite
    left_out: int = 0

    def to_json(self) -> str:
        """What the script reads, as JSON that may stand within a script element."""
        values: dict[str, Any] = {
            "names": list(self.names),
            "x": [round(value, 4) for value in self.x],
            "y": [round(value, 4) for value in self.y],
            "folders": [None if folder is None else asdict(folder) for folder in self.folders],
            "splits": list(self.splits),
            "hrefs": self.hrefs,
            "colourings": [
                {
                    "name": one.name,
                    "words": list(one.words),
                    "values": [value if one.words else round(value, 3) for value in one.values],
                    "low": one.low,
                    "high": one.high,
                    "before": one.before,
                }
                for one in self.colourings
            ],
            "tiles": {"side": self.tiles.side, "columns": self.tiles.columns},
        }
        return json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")


@dataclass(frozen=True)
class ExplorationPage:
    """What is in a collection.

    Attributes:
        title: Heading, and the browser's title.
        date: When it was made.
        summary: Sentences of the first paragraph.
        measures: Counts, each explained.
        facts: What was read, left out and ignored, a line each.
        unreadable: Files that could not be read, with the reason.
        tables: Further counts.
        map: The points of the map.
        plates: The large pictures of all lists.
        kinds: Clusters, largest first.
        kinds_rule: How their number was chosen, in a sentence.
        rarest: Numbers of the smallest clusters, smallest first.
        groups: Groups of duplicates, as many as are shown.
        num_groups: How many there are.
        num_copies: Images in them beyond one of each.
        copies_words: How many of these are of which kind.
        turned: Photos probably stored turned, surest first, as many as are shown.
        num_turned: How many there are; None where the network predicts no turns.
        turned_caveat: How far to trust them.
        odd: The oddest images, oddest first.
        how: How the page was made, a sentence each.
    """

    title: str
    date: str
    summary: Sequence[str]
    measures: Sequence[Measure]
    facts: Sequence[str]
    unreadable: dict[str, str]
    tables: Sequence[Table]
    map: MapShown
    plates: Sprite
    kinds: Sequence[KindShown]
    kinds_rule: str
    rarest: Sequence[int]
    groups: Sequence[GroupShown]
    num_groups: int
    num_copies: int
    copies_words: str
    turned: Sequence[TurnedShown]
    num_turned: int | None
    turned_caveat: str
    odd: Sequence[Shown]
    how: Sequence[str] = field(default_factory=list)


def write_exploration(path: Path, page: ExplorationPage, known: Sequence[str] = ()) -> None:
    """Write the page, atomically.

    Args:
        path: The file.
        page: What it says.
        known: Paths that are not to be shown, as for `quarterturn.runs.facts.without_folders`.
    """
    write_bytes(path, render_exploration(page, known).encode(errors="replace"))


def render_exploration(page: ExplorationPage, known: Sequence[str] = ()) -> str:
    """The page as HTML; everything that comes from the page is escaped."""
    environment = new_environment(known)
    script = _script(environment)
    environment.globals.update(
        script=Markup(script),
        script_hash=Markup(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        points=Markup(page.map.to_json()),
        tiles_uri=data_uri(page.map.tiles.jpeg, "jpeg"),
        plates_uri=data_uri(page.plates.jpeg, "jpeg"),
        href=Markup.escape,  # a link is kept whole, as no text is in which to look for paths
    )
    return environment.get_template(TEMPLATE).render(page=page)


def _script(environment: jinja2.Environment) -> str:
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, SCRIPT)
    return f"\n{source}"
