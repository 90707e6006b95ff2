"""An image and those nearest to it: a table, and a contact sheet with the same figures."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure as Drawing
from PIL import Image

from quarterturn.report.figures import COLOURS, STYLE, WIDTH_INCHES, Figure
from quarterturn.report.tables import Cell, Table, printable
from quarterturn.report.words import PARTS

MOST_SHOWN = 59
"""Neighbours on the sheet: with the query ten rows. The table has them all."""
COLUMNS = 6
CELL_INCHES = WIDTH_INCHES / COLUMNS
CAPTION_INCHES = 0.34
LABEL_LENGTH = 14
"""Characters of a label that fit below a picture."""


def neighbors_table(result: dict[str, Any]) -> Table:
    """What `quarterturn.commands.neighbors.neighbors` has found, an image a row."""
    with_labels = any(near["label"] is not None for near in result["neighbors"])
    rows: list[list[Cell]] = [
        [
            near["rank"], near["name"], near["split"],
            *([near["label"]] if with_labels else []), near["cosine"],
        ]
        for near in result["neighbors"]
    ]  # fmt: skip
    return Table(
        _title(result),
        ["rank", "name", "split", *(["label"] if with_labels else []), "cosine"],
        rows,
        note=_note(result),
        plain=("cosine",),
    )


def contact_sheet(name: str, result: dict[str, Any], pictures: Sequence[Image.Image]) -> Figure:
    """The query in a frame, then its neighbours with their cosines beneath.

    Args:
        name: File stem.
        result: What was found.
        pictures: The query, then the first neighbours, at most `MOST_SHOWN` of them.
    """
    shown = result["neighbors"][: len(pictures) - 1]
    captions = [_caption("query", result["label"])]
    captions += [_caption(f"{near['cosine']:.3f}", near["label"]) for near in shown]
    caption = (
        f"The query is framed; the others have {_note(result)}. Each image is cropped as the "
        "network sees it."
    )
    if len(shown) < len(result["neighbors"]):
        caption += f" The first {len(shown)} of {len(result['neighbors'])} are shown."
    return Figure(
        name,
        _title(result),
        caption,
        _render(pictures, captions),
        result,
        f"The query and {len(shown)} images, by falling cosine",
    )


def _title(result: dict[str, Any]) -> str:
    of = PARTS.get(result["features"], f"layer {result['features']}")
    label = "" if result["label"] is None else f" ({printable(result['label'])})"
    return f"Nearest to {printable(result['image'])}{label}, {of}"


def _note(result: dict[str, Any]) -> str:
    note = f"the largest cosines among {result['searched']:,} images"
    if result["left_out"]:
        note += f"; the image itself, in {' and '.join(result['left_out'])}, is left out"
    if result["unreadable"]:
        note += f"; {result['unreadable']:,} unreadable files are not searched"
    return note


def _render(pictures: Sequence[Image.Image], captions: Sequence[str]) -> bytes:
    rows = math.ceil(len(pictures) / COLUMNS)
    row_inches = CELL_INCHES + CAPTION_INCHES
    height = rows * row_inches
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A label in a script that the font lacks shows as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        drawing = Drawing(figsize=(WIDTH_INCHES, height))
        for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
            row, column = divmod(i, COLUMNS)
            left, bottom = column * CELL_INCHES, height - row * row_inches - CELL_INCHES
            side = 0.92 * CELL_INCHES
            axes = drawing.add_axes(
                (
                    (left + 0.04 * CELL_INCHES) / WIDTH_INCHES, bottom / height,
                    side / WIDTH_INCHES, side / height,
                )
            )  # fmt: skip
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            for spine in axes.spines.values():
                spine.set(visible=i == 0, color=COLOURS["rotation"], linewidth=2)
            axes.set_xlabel(caption, fontsize=7.5, labelpad=3, parse_math=False)
        buffer = io.BytesIO()
        # Without the version of matplotlib, so that equal data gives equal files.
        drawing.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def _caption(first: str, label: str | None) -> str:
    if label is None:
        return first
    label = printable(label)
    if len(label) > LABEL_LENGTH:
        label = label[: LABEL_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return f"{first}\n{label}"
