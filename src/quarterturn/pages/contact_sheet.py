"""Pictures in rows, each with a few words beneath and, where it has them, four bars."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from PIL import Image

from quarterturn.pages.figures import COLOURS, FAINT, STYLE, WIDTH_INCHES, to_png
from quarterturn.pages.tables import printable

COLUMNS = 6
CELL_INCHES = WIDTH_INCHES / COLUMNS
BARS_INCHES = 0.26
CAPTION_INCHES = 0.34
MARGIN = 0.04
"""Of a cell, on either side of its picture."""
LABEL_LENGTH = 14
"""Characters of a label that fit below a picture."""

BARS = (
    "The bars are the probabilities that the image looks upright as it is stored, and after a "
    "turn by 90°, 180° and 270°, counter-clockwise. The coloured bar is the image as it is stored "
    "or, if it is probably stored turned, the turn that brings it upright."
)
"""How to read what stands beneath each image of an upright run."""


@dataclass(frozen=True)
class SheetPicture:
    """A picture on the sheet.

    Attributes:
        image: The picture, square.
        caption: What stands beneath.
        framed: Whether it has a frame.
        shares: Four fractions, one for each quarter turn, as bars between picture and caption;
            none where the sheet has no bars.
        marked: Which of the four is coloured.
    """

    image: Image.Image
    caption: str
    framed: bool = False
    shares: Sequence[float] = ()
    marked: int = 0


def draw_sheet(pictures: Sequence[SheetPicture]) -> bytes:
    """A PNG of the pictures, six in a row."""
    bars_inches = BARS_INCHES if any(picture.shares for picture in pictures) else 0.0
    row_inches = CELL_INCHES + bars_inches + CAPTION_INCHES
    height = math.ceil(len(pictures) / COLUMNS) * row_inches
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A label in a script that the font lacks shows as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        drawing = Drawing(figsize=(WIDTH_INCHES, height))

        def add_axes(left: float, bottom: float, axes_height: float) -> Axes:
            side = (1 - 2 * MARGIN) * CELL_INCHES
            left += MARGIN * CELL_INCHES
            return drawing.add_axes(
                (left / WIDTH_INCHES, bottom / height, side / WIDTH_INCHES, axes_height / height)
            )

        for i, picture in enumerate(pictures):
            row, column = divmod(i, COLUMNS)
            left, bottom = column * CELL_INCHES, height - row * row_inches - CELL_INCHES
            lowest = axes = add_axes(left, bottom, (1 - 2 * MARGIN) * CELL_INCHES)
            axes.imshow(picture.image)
            for spine in axes.spines.values():
                spine.set(visible=picture.framed, color=COLOURS["rotation"], linewidth=2)
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            if picture.shares:
                lowest = add_axes(left, bottom - bars_inches, 0.8 * bars_inches)
                _draw_bars(lowest, picture)
            lowest.set_xlabel(picture.caption, fontsize=7.5, labelpad=3, parse_math=False)
        return to_png(drawing)


def with_label(text: str, label: str | None) -> str:
    """A caption with an image's label on a line of its own, cut to what fits; None is no label."""
    if label is None:
        return text
    label = printable(label)
    if len(label) > LABEL_LENGTH:
        label = label[: LABEL_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return f"{text}\n{label}"


def _draw_bars(axes: Axes, picture: SheetPicture) -> None:
    colours = [COLOURS["rotation"] if k == picture.marked else FAINT for k in range(4)]
    axes.bar(range(4), picture.shares, width=0.8, color=colours)
    axes.set(ylim=(0, 1), xticks=[], yticks=[])
    axes.grid(False)
    axes.spines["left"].set_visible(False)
