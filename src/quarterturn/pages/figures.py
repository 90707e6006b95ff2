"""A figure with the data behind it: how it is stored, and the style that all are drawn in."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterturn.errors import CheckpointError
from quarterturn.files import write_bytes, write_json
from quarterturn.kept_files import read_object

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

logger = logging.getLogger(__name__)

CHANCE = 0.25
INK, FAINT, LINE = "#2b2f36", "#8a9099", "#b9bec6"
COLOURS = {
    "rotation": "#2a6ca8",
    "invariance": "#b5621b",
    "instance": "#4d8250",
    "teacher": "#7d4f9e",
}
WIDTH_INCHES = 5.2
PAGE_WIDTH_INCHES = 7.3
"""Of a wide figure: letters are as large on a page as those of others."""
DOTS_PER_INCH = 200
STYLE: Any = {
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.titlecolor": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e6e8ec",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": "#5b616b",
    "ytick.color": "#5b616b",
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round",
    "axes.formatter.limits": (-5, 6),
}


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        name: File stem.
        title: A short heading.
        caption: What is to be seen in it, and how to read it.
        png: The picture.
        data: What was drawn, as plain JSON values.
        alt: What a reader who cannot see it should know.
        wide: Takes a row of its own on a page.
        photos: Shows photographs, whose colours a dark page must not turn about.
    """

    name: str
    title: str
    caption: str
    png: bytes
    data: dict[str, Any] = field(repr=False)
    alt: str = ""
    wide: bool = False
    photos: bool = False


def save_figure(folder: Path, figure: Figure) -> None:
    """Write ``<name>.png`` and ``<name>.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / f"{figure.name}.png", figure.png)
    told = ("title", "caption", "alt", "wide", "photos", "data")
    about = {name: getattr(figure, name) for name in told}
    write_json(folder / f"{figure.name}.json", about)


def load_figure(folder: Path, name: str) -> Figure | None:
    """The figure that `save_figure` has written; None where there is none, or half of it.

    A damaged one is left out, which is logged: a page without it is better than none.
    """
    file = folder / f"{name}.json"
    try:
        about = read_object(file)
        png = (folder / f"{name}.png").read_bytes()
        return Figure(name=name, png=png, **about)
    except OSError:
        return None
    except (CheckpointError, TypeError) as error:
        logger.warning(f"the figure {file} is left out: {error}")
        return None


def to_png(drawing: Drawing) -> bytes:
    """A drawing as a file; call it within the drawing's style."""
    buffer = io.BytesIO()
    # Without the version of matplotlib, so that equal data gives equal files.
    drawing.savefig(buffer, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
