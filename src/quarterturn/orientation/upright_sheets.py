"""Contact sheets of an upright run: probably stored turned, no clear up, a clear up.

Shapes: N images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quarterturn.data.imageset import ImageSet
from quarterturn.features.pictures import thumbnail
from quarterturn.orientation.scores import probably_turned
from quarterturn.orientation.upright_table import UprightTable
from quarterturn.pages.contact_sheet import BARS, SheetPicture, draw_sheet, with_label
from quarterturn.pages.figures import Figure, save_figure
from quarterturn.pages.images_section import SHEETS
from quarterturn.runs import Run
from quarterturn.runs.pictures import PictureFolder, ScoredPicture, Sheet, Sheets, write_pictures

MOST_SHOWN = 24


def save_sheets(run: Run, images: ImageSet, table: UprightTable) -> Sheets:
    """Choose and store the sheets: for the page, and each as one picture in ``figures``.

    Args:
        run: The run; images are shown by its crop settings, as the networks see them.
        images: The N images that the table is of.
        table: Their scores.

    Returns:
        What is stored; a sheet without images is left out.
    """
    pictures = PictureFolder(run.path, SHEETS)
    turns = probably_turned(table.p_upright)
    sheets = []
    for name, title, caption, chosen in choose(table):
        small = {i: thumbnail(images, i, run.config.data) for i in chosen.tolist()}
        scored = tuple(
            ScoredPicture(
                pictures.add(i, table.names[i], image),
                None if images.labels is None else images.class_names[images.labels[i]],
                float(table.agnostic[i]),
                tuple(table.p_upright[i].tolist()),
                int(turns[i]),
            )
            for i, image in small.items()
        )
        sheet = Sheet(name, title, f"{len(scored)} {caption}.", scored)
        save_figure(run.figures, contact_sheet(sheet, [*small.values()]))
        sheets.append(sheet)
    write_pictures(run.path, SHEETS, Sheets(tuple(sheets)))
    return Sheets(tuple(sheets))


def choose(table: UprightTable) -> list[tuple[str, str, str, NDArray[np.int64]]]:
    """The images of the three sheets, each with file stem, title and the end of a caption."""
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
            "probably-turned",
            "Probably stored turned",
            f"of {len(turned):,} such images, the surest first",
            turned[:MOST_SHOWN],
        ),
        (
            "most-agnostic",
            "No clear up",
            f"of {len(scored):,} images, those with the least clear up first",
            by_score[:at_an_end],
        ),
        (
            "most-rotatable",
            "A clear up",
            f"of {len(scored):,} images, those with the clearest up first",
            by_score[::-1][:at_an_end],
        ),
    ]
    return [sheet for sheet in sheets if len(sheet[3])]


def contact_sheet(sheet: Sheet, thumbnails: Sequence[Image.Image]) -> Figure:
    """All images of a sheet as one picture.

    Args:
        sheet: The sheet.
        thumbnails: Its images.
    """
    drawn = [
        SheetPicture(
            image, with_label(_words(one), one.label), shares=one.p_upright, marked=one.turn
        )
        for one, image in zip(sheet.pictures, thumbnails, strict=True)
    ]
    data = [
        {
            "index": one.picture.index,
            "name": one.picture.name,
            "label": one.label,
            "agnostic": one.agnostic,
            "turn_to_upright": 90 * one.turn,
            "p_upright": list(one.p_upright),
        }
        for one in sheet.pictures
    ]
    return Figure(
        sheet.name,
        sheet.title,
        f"{sheet.summary} {BARS}",
        draw_sheet(drawn),
        {"images": data},
        f"Contact sheet: {sheet.summary.rstrip('.')}",
    )


def _words(one: ScoredPicture) -> str:
    return f"turn by {90 * one.turn}°" if one.turn else f"score {one.agnostic:.2f}"
