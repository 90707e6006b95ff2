"""What ``quarterturn orient`` found, as a table."""

from __future__ import annotations

from typing import Any

from quarterturn.orientation.turns import IN_SAMPLE, SCORED, VERDICTS
from quarterturn.pages.tables import Cell, Table


def orient_table(result: dict[str, Any]) -> Table:
    """Images by verdict, and by how they were scored."""
    counts: dict[str, dict[str, int]] = result["counts"]
    ways = [way for way in SCORED if any(way in of_verdict for of_verdict in counts.values())]
    rows: list[list[Cell]] = []
    for verdict in (verdict for verdict in VERDICTS if verdict in counts):
        of_verdict = counts[verdict]
        images = sum(of_verdict.values())
        cells: list[Cell] = [verdict, images, images / result["images"]]
        rows.append([*cells, *(of_verdict.get(way, 0) for way in ways)])
    return Table(
        f"Which way is up: {result['name']}, by {result['oriented_by']}",
        ["verdict", "images", "share", *ways],
        rows,
        note=_note(result, IN_SAMPLE in ways),
    )


def _note(result: dict[str, Any], in_sample: bool) -> str:
    note = (
        "turns in degrees, counter-clockwise; no clear up: agnostic score "
        f"{result['agnostic']:g} or more, and the copies do not agree; unsure: a probability below "
        f"{result['confidence']:g}"
    )
    if in_sample:
        note += (
            "; in sample: the network has learned from the image, and is surer than it should be"
        )
    if not result["learned_is_known"]:
        note += (
            "; the run's data is not at hand: images that it was trained on are not known, and "
            "are counted as new"
        )
    if (written := result["written"]) is not None:
        note += f"; {written['turned']:,} turned and {written['copied']:,} plain copies written"
        if written["left_out"]:
            note += f", {len(written['left_out']):,} could not be written"
    return note
