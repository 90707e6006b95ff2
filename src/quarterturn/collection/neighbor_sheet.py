"""An image and those nearest to it: a table, and a contact sheet with the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from quarterturn.pages.contact_sheet import SheetPicture, draw_sheet, with_label
from quarterturn.pages.figures import Figure
from quarterturn.pages.measures import PARTS
from quarterturn.pages.tables import Cell, Table, printable

MOST_SHOWN = 59
"""Neighbours on the sheet: with the query ten rows. The table has them all."""


def neighbors_table(result: dict[str, Any]) -> Table:
    """What `quarterturn.collection.neighbors.neighbors` has found, an image a row."""
    with_labels = any(near["label"] is not None for near in result["neighbors"])
    rows: list[list[Cell]] = [
        [
            near["rank"],
            near["name"],
            near["split"],
            *([near["label"]] if with_labels else []),
            near["cosine"],
        ]
        for near in result["neighbors"]
    ]
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
    captions = [with_label("query", result["label"])]
    captions += [with_label(f"{near['cosine']:.3f}", near["label"]) for near in shown]
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
        draw_sheet(
            [
                SheetPicture(image, words, framed=i == 0)
                for i, (image, words) in enumerate(zip(pictures, captions, strict=True))
            ]
        ),
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
