"""Pictures in rows, each with a few words beneath and, where it has them, four bars.

Drawn by Pillow: loading matplotlib takes a second, which `neighbors` has no other use for.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from quarterturn.pages.figures import COLOURS, DOTS_PER_INCH, FAINT, INK, LINE, WIDTH_INCHES
from quarterturn.pages.tables import printable

COLUMNS = 6
CELL_INCHES = WIDTH_INCHES / COLUMNS
BARS_INCHES = 0.26
CAPTION_INCHES = 0.34
MARGIN = 0.04
"""Of a cell, on either side of its picture."""
FONT_POINTS = 7.5
FRAME, CAPTION_GAP = 6, 9
"""In dots: width of a frame, and room above a caption."""
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
    sheet = Image.new("RGB", (_dots(WIDTH_INCHES), _dots(height)), "white")
    drawing = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(_font_file(), FONT_POINTS * DOTS_PER_INCH / 72)
    side = _dots((1 - 2 * MARGIN) * CELL_INCHES)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, COLUMNS)
        left = _dots((column + MARGIN) * CELL_INCHES)
        top = _dots(row * row_inches + MARGIN * CELL_INCHES)
        sheet.paste(picture.image.resize((side, side), Image.Resampling.BICUBIC), (left, top))
        if picture.framed:
            box = [left - FRAME // 2, top - FRAME // 2]
            box += [edge + side + FRAME - 1 for edge in box]
            drawing.rectangle(box, outline=COLOURS["rotation"], width=FRAME)
        bottom = top + side
        if picture.shares:
            bottom = _dots((row * row_inches) + CELL_INCHES + bars_inches)
            _draw_bars(drawing, picture, left, bottom, side)
        drawing.multiline_text(
            (left + side / 2, bottom + CAPTION_GAP),
            picture.caption,
            INK,
            font,
            anchor="ma",
            align="center",
        )
    buffer = io.BytesIO()
    sheet.save(buffer, format="png", dpi=(DOTS_PER_INCH, DOTS_PER_INCH))
    return buffer.getvalue()


def with_label(text: str, label: str | None) -> str:
    """A caption with an image's label on a line of its own, cut to what fits; None is no label."""
    if label is None:
        return text
    label = printable(label)
    if len(label) > LABEL_LENGTH:
        label = label[: LABEL_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return f"{text}\n{label}"


def _draw_bars(
    drawing: ImageDraw.ImageDraw, picture: SheetPicture, left: int, bottom: int, width: int
) -> None:
    """The four shares as bars that stand on a line, the highest of them 0.8 of their room."""
    highest = 0.8 * _dots(BARS_INCHES)
    drawing.line([left, bottom, left + width - 1, bottom], LINE, 2)
    for k, share in enumerate(picture.shares):
        if (height := round(share * highest)) > 0:
            start, end = (left + round((k + part) * width / 4) for part in (0.1, 0.9))
            colour = COLOURS["rotation"] if k == picture.marked else FAINT
            drawing.rectangle([start, bottom - height, end - 1, bottom - 1], colour)


def _dots(inches: float) -> int:
    return round(inches * DOTS_PER_INCH)


def _font_file() -> str:
    """Matplotlib's own font, so that all figures have one, without loading matplotlib."""
    found = find_spec("matplotlib")
    assert found is not None
    assert found.submodule_search_locations is not None
    folder = Path(found.submodule_search_locations[0])
    return str(folder / "mpl-data/fonts/ttf/DejaVuSans.ttf")
