"""``orient.csv``: the predicted turn of every image, and whether it is to be turned.

Shapes: n images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.source import Source
from quarterturn.files import write_csv
from quarterturn.orientation.turns import TURN, UNREADABLE, Turns

COLUMNS = [
    "index",
    "path",
    "split",
    "scored",
    "turn_degrees",
    "probability",
    "agnostic",
    "verdict",
    "apply",
    "file_version",
]
YES, NO = "yes", "no"
"""Values of ``apply``."""

Verdicts = Mapping[str, list[str]]
"""Split to the verdict on each of its images."""


def write_turns(path: Path, source: Source, turns: Mapping[str, Turns], verdicts: Verdicts) -> None:
    """Write a csv file with one line per image file, unreadable ones last.

    ``turn_degrees`` is the most probable turn, counter-clockwise, whatever the verdict; ``apply``
    says whether it is to be made.

    Args:
        path: The file.
        source: The images.
        turns: Split to predicted turns.
        verdicts: Split to verdicts.
    """
    write_csv(path, COLUMNS, _rows(source, turns, verdicts))


def _rows(source: Source, turns: Mapping[str, Turns], verdicts: Verdicts) -> Iterator[list[Any]]:
    for split, images in source.all_splits.items():
        for index in range(len(images)):
            yield row_of(images, split, index, turns[split], verdicts[split])
    for name in source.unreadable:
        yield ["", name, "", *[""] * 4, UNREADABLE, NO, ""]


def row_of(
    images: ImageSet, split: str, index: int, turns: Turns, verdicts: list[str]
) -> list[Any]:
    """The row of one image."""
    known: list[Any] = [""] * 4
    if turns.readable[index]:
        known = [
            turns.scored[index],
            90 * int(turns.to_upright[index]),
            f"{turns.stored[index].max():.4f}",
            f"{turns.agnostic[index]:.4f}",
        ]
    verdict = verdicts[index]
    applies = YES if verdict in TURN.values() else NO
    version = file_version(images, index)
    return [index, images.names[index], split, *known, verdict, applies, version]


def file_version(images: ImageSet, index: int) -> str:
    """A word that changes when an image's file does; empty where it has none.

    A word, not its size and time, which spreadsheets write in ways of their own.
    """
    if not isinstance(images, FileImages):
        return ""
    num_bytes, modified_ns, _ = images.stat(index)
    return "v" + hashlib.sha256(f"{num_bytes} {modified_ns}".encode()).hexdigest()[:12]
