"""The scores of all images as a csv file, for a spreadsheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quarterturn.data.imageset import ImageSet
from quarterturn.files import write_csv
from quarterturn.orientation.scores import half_turn_scores, probably_turned
from quarterturn.orientation.upright_table import NOT_SCORED, UprightTable

COLUMNS = [
    "index",
    "path",
    "label",
    "fold",
    "agnostic",
    "half_turn",
    "turn_to_upright",
    "p_upright_0",
    "p_upright_90",
    "p_upright_180",
    "p_upright_270",
]


def write_scores(path: Path, images: ImageSet, table: UprightTable) -> None:
    """Write one line per image.

    ``turn_to_upright`` is in degrees, counter-clockwise: 0 unless the image is probably stored
    turned. If an image could not be read, all columns after ``label`` are empty.

    Args:
        path: The file.
        images: The N images of the table.
        table: Their scores.
    """
    half_turn, turned = half_turn_scores(table.p_upright), probably_turned(table.p_upright)
    rows: list[list[Any]] = []
    for i, name in enumerate(table.names):
        label = "" if images.labels is None else images.class_names[images.labels[i]]
        scores = [""] * (len(COLUMNS) - 3)
        if table.fold[i] != NOT_SCORED:
            shown = [table.agnostic[i], half_turn[i], *table.p_upright[i]]
            shown = [f"{value:.4f}" for value in shown]
            scores = [str(table.fold[i]), *shown[:2], str(90 * turned[i]), *shown[2:]]
        rows.append([i, name, label, *scores])
    write_csv(path, COLUMNS, rows)
