"""Contact sheets of an upright run: no "up", a sure "up", and probably stored turned.

Shapes: N images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.features.pictures import Picture, thumbnail
from quarterturn.orientation.scores import probably_turned
from quarterturn.orientation.upright_table import UprightTable
from quarterturn.pages.contact_sheet import SheetPicture, draw_sheet, with_label
from quarterturn.pages.figures import Figure

MOST_SHOWN = 24
BARS = (
    "The bars are p_upright: of the image as it is stored, and after a turn by 90°, 180° and 270°, "
    "counter-clockwise. Coloured is the image as it is stored or, where it is probably stored "
    "turned, the turn that brings it upright."
)
"""How to read what stands beneath each image."""


@dataclass(frozen=True)
class ScoredPicture:
    """An image and what is said of it.

    Attributes:
        picture: The image.
        label: Its class, or None.
        agnostic: Its agnostic score.
        p_upright: That it looks upright after each of the four turns.
        turn: Quarter turns, counter-clockwise, that bring it upright: 0 unless it is probably
            stored turned.
    """

    picture: Picture
    label: str | None
    agnostic: float
    p_upright: list[float]
    turn: int


@dataclass(frozen=True)
class Sheet:
    """Images of one kind.

    Attributes:
        summary: How many they are, and in which order.
        figure: All of them as one picture.
        pictures: One by one.
    """

    summary: str
    figure: Figure
    pictures: list[ScoredPicture]


def upright_sheets(images: ImageSet, table: UprightTable, crop: DataConfig) -> list[Sheet]:
    """The three sheets; one without images is left out.

    Args:
        images: The N images that the table is of.
        table: Their scores.
        crop: Crop settings of the networks: images are shown as the networks see them.
    """
    scored = table.scored
    by_score = scored[np.argsort(-table.agnostic[scored], kind="stable")]
    # In a small collection no image is to be among both ends.
    at_an_end = min(MOST_SHOWN, len(scored) // 2)
    turns = probably_turned(table.p_upright)
    turned = scored[turns[scored] > 0]
    sureness = table.p_upright[turned, turns[turned]]
    turned = turned[np.argsort(-sureness, kind="stable")]
    sheets = [
        (
            "most-agnostic",
            "Most agnostic",
            f"of {len(scored):,} images, the most agnostic first",
            by_score[:at_an_end],
        ),
        (
            "most-rotatable",
            "Most rotatable",
            f"of {len(scored):,} images, the least agnostic first",
            by_score[::-1][:at_an_end],
        ),
        (
            "probably-turned",
            "Probably stored turned",
            f"of {len(turned):,} such images, the surest first",
            turned[:MOST_SHOWN],
        ),
    ]
    return [
        _sheet(name, title, caption, _picture_all(images, table, turns, chosen, crop))
        for name, title, caption, chosen in sheets
        if len(chosen)
    ]


def _picture_all(
    images: ImageSet,
    table: UprightTable,
    turns: NDArray[np.int64],
    chosen: NDArray[np.int64],
    crop: DataConfig,
) -> list[ScoredPicture]:
    return [
        ScoredPicture(
            Picture(i, table.names[i], thumbnail(images, i, crop)),
            None if images.labels is None else images.class_names[images.labels[i]],
            float(table.agnostic[i]),
            table.p_upright[i].tolist(),
            int(turns[i]),
        )
        for i in chosen.tolist()
    ]


def _sheet(name: str, title: str, caption: str, pictures: list[ScoredPicture]) -> Sheet:
    drawn = [
        SheetPicture(
            one.picture.image,
            with_label(_words(one), one.label),
            shares=one.p_upright,
            marked=one.turn,
        )
        for one in pictures
    ]
    data = [
        {
            "index": one.picture.index,
            "name": one.picture.name,
            "label": one.label,
            "agnostic": one.agnostic,
            "turn_to_upright": 90 * one.turn,
            "p_upright": one.p_upright,
        }
        for one in pictures
    ]
    shown = f"{len(pictures)} {caption}"
    figure = Figure(
        name,
        title,
        f"{shown}. {BARS}",
        draw_sheet(drawn),
        {"images": data},
        f"Contact sheet: {shown}",
    )
    return Sheet(f"{shown}.", figure, pictures)


def _words(one: ScoredPicture) -> str:
    return f"turn by {90 * one.turn}°" if one.turn else f"agnostic {one.agnostic:.2f}"
