"""The page of `doctor`, from what was found.

Shapes: m pictures on the page; T their side.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from quarterturn.data.image_file import Size, UnreadableImageError
from quarterturn.data.imageset import FileImages
from quarterturn.inspecting.appearance import SIDE
from quarterturn.inspecting.diagnosis import Diagnosis
from quarterturn.inspecting.findings import (
    BLANK_SPREAD,
    BLURRED_SHARPNESS,
    DARK_BRIGHTNESS,
    LONG,
    USUAL_SHARE,
    Find,
    Finding,
)
from quarterturn.inspecting.inspection import MOST_COMPARED, Inspection
from quarterturn.pages.doctor import DoctorPage, FindingShown
from quarterturn.pages.exploration import Shown
from quarterturn.pages.measures import Measure
from quarterturn.pages.page import href_to
from quarterturn.pages.sprite import make_sprite
from quarterturn.pages.tables import Cell, Table, percent
from quarterturn.progress import stage
from quarterturn.runs.closing import command

PLATE_SIDE = 96
PLATE_BYTES = 1_200_000
MOST_PICTURES, MOST_PAIRS, MOST_LISTED = 24, 12, 50
"""Of one kind of finding on the page; the csv file has all."""
BEHIND = (128, 128, 128)
"""Colour beside pictures that are not square."""


def doctor_page(diagnosis: Diagnosis, out: Path) -> DoctorPage:
    """Lay out what was found.

    Args:
        diagnosis: It.
        out: The page's file, from which links lead to the images.
    """
    plates = _Plates(diagnosis.found, out.parent)
    with stage("page", weight=0):
        shown = [_shown(finding, plates) for finding in diagnosis.defects]
        return DoctorPage(
            title=f"{diagnosis.found.source.name}, before training",
            date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            summary=[f"{diagnosis.outcome()}."],
            measures=_measures(diagnosis),
            findings=shown,
            notes=_notes(diagnosis),
            facts=diagnosis.found.source.left_out(),
            tables=[diagnosis.images_table(), *_classes(diagnosis)],
            cost=diagnosis.cost_table(),
            advice=diagnosis.advice_table() if diagnosis.advice else None,
            command=command(*diagnosis.pretrain),
            plates=make_sprite(plates.pixels(), PLATE_BYTES),
            how=_how(diagnosis),
        )


class _Plates:
    """The pictures of the page, each once."""

    def __init__(self, found: Inspection, folder: Path) -> None:
        self.found, self.folder = found, folder
        self.numbers: dict[int, int] = {}

    def add(self, place: int, note: str = "") -> Shown:
        """Show the image at one of the n places."""
        number = self.numbers.setdefault(place, len(self.numbers))
        images, href = self.found.images(place), ""
        if isinstance(images, FileImages) and images.are_files:
            href = href_to(images.path(int(self.found.indices[place])), self.folder)
        return Shown(self.found.name(place), href, number, note)

    def pixels(self) -> NDArray[np.uint8]:
        """(m, T, T, 3) of all that were added, whole, with borders where they are not square."""
        side = (PLATE_SIDE, PLATE_SIDE)
        drawn = np.full((len(self.numbers), *side, 3), BEHIND, np.uint8)
        for place, number in self.numbers.items():
            try:
                image = self.found.images(place).read(
                    int(self.found.indices[place]), self._shrink(self.found.sizes[place].tolist())
                )
            except UnreadableImageError:  # it was read a moment ago; a grey square shows it is gone
                continue
            drawn[number] = np.asarray(ImageOps.pad(image, side, Image.Resampling.BOX, BEHIND))
        return drawn

    @staticmethod
    def _shrink(size: Size) -> float:
        return max(1.0, max(size) / (2 * PLATE_SIDE))


def _shown(finding: Finding, plates: _Plates) -> FindingShown:
    kind, finds = finding.kind, finding.finds
    pictures: list[Shown] = []
    pairs: list[Sequence[Shown]] = []
    for find in finds:
        if find.place is None:
            continue
        if find.other is not None and len(pairs) < MOST_PAIRS:
            pairs.append([plates.add(find.other), plates.add(find.place, find.detail)])
        elif find.other is None and len(pictures) < MOST_PICTURES:
            pictures.append(plates.add(find.place, find.detail))
    listed = [(find.name, _words(find)) for find in finds if find.place is None][:MOST_LISTED]
    return FindingShown(kind.name, kind.title, len(finds), kind.meaning, pictures, pairs, listed)


def _words(find: Find) -> str:
    return find.detail or find.split


def _measures(diagnosis: Diagnosis) -> list[Measure]:
    found = diagnosis.found
    affected = {find.name for finding in diagnosis.defects for find in finding.finds}
    kinds = len(diagnosis.defects)
    return [
        Measure("Images", f"{len(found):,}", "that can be read, of all splits"),
        Measure("Unreadable", f"{len(found.unreadable):,}", "files that cannot be read"),
        Measure("Findings", f"{len(affected):,}", "images, files or classes with any of them"),
        Measure("Kinds", f"{kinds:,}", "of findings, the worst first; notes do not count"),
    ]


def _notes(diagnosis: Diagnosis) -> Table | None:
    table = diagnosis.findings_table()
    rows = [row for row in table.rows if str(row[0]).startswith("note: ")]
    if not rows:
        return None
    return Table("Notes", table.columns, [[str(row[0])[6:], *row[1:]] for row in rows])


def _classes(diagnosis: Diagnosis) -> list[Table]:
    """Images by class and split."""
    classes = diagnosis.classes
    if not classes.by_split:
        return []
    rows: list[list[Cell]] = [
        [name, *(counts.get(name, 0) for counts in classes.by_split.values())]
        for name in classes.names
    ]
    note = "An image of several classes counts for each." if classes.has_several_labels else ""
    return [Table("Images by class", ["class", *classes.by_split], rows, note=note)]


def _how(diagnosis: Diagnosis) -> list[str]:
    return [
        "Every image was decoded once; no network was trained.",
        f"Figures of looks are taken at a short side of {SIDE} px, or the image's own where it is "
        "smaller.",
        f"Blank: the pixels vary by less than {BLANK_SPREAD:g} of 256 levels. Very dark: 99 % of "
        f"them are below level {DARK_BRIGHTNESS}.",
        "Blurred: the variance of the Laplacian is less than "
        f"{percent(BLURRED_SHARPNESS)} of the variance of the grey values. Blur in one direction, "
        "and a sharp background behind a blurred subject, are not found.",
        f"Extreme shape: the long side is more than {LONG:g} times the short one.",
        f"What more than {percent(USUAL_SHARE)} of the images have in common is noted, not found.",
        "Copies within a split are exact: the same bytes of files, the same pixels of arrays. "
        + _compared(diagnosis.found),
    ]


def _compared(found: Inspection) -> str:
    if found.thumbnails is not None:
        return "Between splits, resized, recompressed, turned and mirrored copies are found too."
    if len(found.split_names) < 2:
        return ""
    return f"So are those between splits: there are more than {MOST_COMPARED:,} images."
