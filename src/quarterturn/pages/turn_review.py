"""The page of ``quarterturn orient``: photos that are probably stored turned, to be reviewed.

Each is shown before and after the turn, with a check box. A script of the page's own, whose hash
its content security policy names, saves what is checked as ``orient.csv``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from quarterturn.files import write_bytes
from quarterturn.pages.exploration import Shown, TurnedShown
from quarterturn.pages.measures import Measure
from quarterturn.pages.page import data_uri, new_environment
from quarterturn.pages.sprite import Sprite
from quarterturn.pages.tables import Table

TEMPLATE, SCRIPT = "orient.html", "orient.js"


@dataclass(frozen=True)
class ReviewRows:
    """The lines of ``orient.csv`` that the page saves.

    Attributes:
        columns: Names of the columns.
        rows: Of the images on the page, in its order, then of those that are left out of it. Cells
            are as they stand in the file, but for quotes.
        turn: Column of the turn, which the page may change.
        applies: Column that says whether an image is to be turned, yes or no.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    turn: int
    applies: int

    def is_checked(self, number: int) -> bool:
        """Whether an image of the page is to be turned, unless the reader says otherwise."""
        return self.rows[number][self.applies] == "yes"

    def to_json(self) -> str:
        """What the script reads, as JSON that may stand within a script element."""
        values = {
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "turn": self.turn,
            "applies": self.applies,
        }
        return json.dumps(values, separators=(",", ":")).replace("<", "\\u003c")


@dataclass(frozen=True)
class TurnReviewPage:
    """What `orient` has found.

    Attributes:
        title: Heading, and the browser's title.
        date: When it was made.
        summary: Sentences of the first paragraph.
        measures: Figures, each explained.
        caveat: How far to trust them.
        warning: Why nothing is listed though something may be turned; empty where all is well.
        tables: Precision and recall by probability, and the verdicts.
        turned: Photos that are probably stored turned, surest first.
        left_out: Photos that are not on the page, and in its file.
        no_up: Some of the images without a clear up.
        num_no_up: How many there are.
        plates: The pictures.
        review: What the page saves.
        command: What to do with it.
    """

    title: str
    date: str
    summary: Sequence[str]
    measures: Sequence[Measure]
    caveat: str
    warning: str
    tables: Sequence[Table]
    turned: Sequence[TurnedShown]
    left_out: int
    no_up: Sequence[Shown]
    num_no_up: int
    plates: Sprite
    review: ReviewRows
    command: str


def write_turn_review(path: Path, page: TurnReviewPage, known: Sequence[str] = ()) -> None:
    """Write the page, atomically.

    Args:
        path: The file.
        page: What it says.
        known: Paths that are not to be shown, as for `quarterturn.runs.facts.without_folders`.
    """
    write_bytes(path, render_turn_review(page, known).encode(errors="replace"))


def render_turn_review(page: TurnReviewPage, known: Sequence[str] = ()) -> str:
    """The page as HTML; everything that comes from the page is escaped."""
    environment = new_environment(known)
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, SCRIPT)
    script = f"\n{source}"
    environment.globals.update(
        script=Markup(script),
        script_hash=Markup(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        rows=Markup(page.review.to_json()),
        plates_uri=data_uri(page.plates.jpeg, "jpeg"),
        href=Markup.escape,  # a link is kept whole, as no text is in which to look for paths
    )
    return environment.get_template(TEMPLATE).render(page=page)
