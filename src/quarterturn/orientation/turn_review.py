"""The page on which the turns that `orient` predicts are reviewed, and the figures on it.

Shapes: n images, over all splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quarterturn.config import DataConfig
from quarterturn.data.imageset import FileImages
from quarterturn.data.source import Source
from quarterturn.features.pictures import thumbnail
from quarterturn.files import guarded
from quarterturn.orientation.turn_reading import TurnReading
from quarterturn.orientation.turn_table import COLUMNS, Verdicts, row_of
from quarterturn.orientation.turns import NO_UP, TURN, Turns
from quarterturn.pages.exploration import Shown, TurnedShown
from quarterturn.pages.measures import Measure
from quarterturn.pages.page import href_to
from quarterturn.pages.sprite import make_sprite
from quarterturn.pages.tables import Cell, Table, percent
from quarterturn.pages.turn_review import ReviewRows, TurnReviewPage
from quarterturn.progress import stage

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Probabilities whose precision and recall are estimated."""
MOST_SHOWN, MOST_WITHOUT_UP = 600, 24
LEAST_LISTED = 0.5
"""Probability of being stored turned from which a photo is shown for review."""
PLATE_SIDE, PLATE_BYTES = 128, 2_800_000


@dataclass(frozen=True)
class Candidate:
    """An image that may be stored turned.

    Attributes:
        split: Its split.
        index: Its number there.
        turn: Quarter turns, counter-clockwise, that most probably bring it upright.
        probability: That it is stored turned in this way.
    """

    split: str
    index: int
    turn: int
    probability: float


def list_candidates(turns: Mapping[str, Turns], verdicts: Verdicts) -> list[Candidate]:
    """The images that are to be turned, or more probably turned than upright, surest first.

    Where the networks cannot tell turns, there are none.
    """
    found = [
        Candidate(
            split, index, int(of_split.to_upright[index]), float(of_split.stored[index].max())
        )
        for split, of_split in turns.items()
        if of_split.tells
        for index in np.flatnonzero(_is_listed(of_split, verdicts[split])).tolist()
    ]
    return sorted(found, key=lambda one: -one.probability)


def _is_listed(turns: Turns, verdicts: Sequence[str]) -> NDArray[np.bool_]:
    is_probable = (turns.is_turned >= LEAST_LISTED) & (turns.to_upright > 0)
    return is_probable | np.isin(np.array(verdicts), list(TURN.values()))


def estimate_quality(
    turns: Mapping[str, Turns], verdicts: Verdicts
) -> list[dict[str, float | int | None]]:
    """What to expect of all turns from each of `THRESHOLDS` on, by their probabilities.

    Images without a clear up are not turned.

    Returns:
        For each: ``confidence``; ``listed`` images; ``precision``, the mean probability of these,
        None where there are none; ``recall``, what these are of all that is stored turned.
    """
    parts = {split: each for split, each in turns.items() if each.tells}
    expected = sum(float(np.nansum(each.is_turned)) for each in parts.values())
    listed = np.concatenate(
        [
            np.empty(0),
            *(
                each.stored.max(axis=1)[
                    (each.to_upright > 0) & (np.array(verdicts[split]) != NO_UP)
                ]
                for split, each in parts.items()
            ),
        ]
    )
    rows: list[dict[str, float | int | None]] = []
    for confidence in THRESHOLDS:
        sure = listed[listed >= confidence]
        rows.append(
            {
                "confidence": confidence,
                "listed": len(sure),
                "precision": float(sure.mean()) if len(sure) else None,
                "recall": float(sure.sum() / expected) if expected > 0 else None,
            }
        )
    return rows


def quality_table(turns: Mapping[str, Turns], verdicts: Verdicts) -> Table:
    """`estimate_quality` as a table."""
    rows: list[list[Cell]] = [
        [percent(float(row["confidence"] or 0)), row["listed"], row["precision"], row["recall"]]
        for row in estimate_quality(turns, verdicts)
    ]
    return Table(
        "By probability",
        ["turned from", "images", "right, expected", "found, expected"],
        rows,
        note="estimates from the probabilities themselves, since nobody knows the truth: of the "
        "images turned from that probability on, the share whose turn is right, and what share of "
        "all that is stored turned they are",
    )


def review_page(
    reading: TurnReading,
    source: Source,
    verdicts: Verdicts,
    crop: DataConfig,
    out: Path,
    *,
    confidence: float,
    command: str,
    tables: Sequence[Table],
) -> TurnReviewPage:
    """Lay the review out.

    Args:
        reading: How the images are stored.
        source: The images.
        verdicts: On each of them.
        crop: Which part of an image is shown.
        out: The page's file, from which links lead to the images.
        confidence: Photos at least as probably turned are checked.
        command: That writes the reviewed copies.
        tables: Further counts.
    """
    plates = _Plates(source, crop, out.parent)
    candidates = list_candidates(reading.turns, verdicts)
    shown = candidates[:MOST_SHOWN]
    no_up = _without_up(reading.turns, verdicts)
    with stage("page"):
        turned = [
            TurnedShown(plates.add(one.split, one.index), one.turn, one.probability)
            for one in shown
        ]
        return TurnReviewPage(
            title=f"Which way is up in {source.name}",
            date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            summary=_summary(reading, source, count_turns(verdicts), confidence),
            measures=_measures(reading, len(candidates), count_turns(verdicts), confidence),
            caveat=reading.caveat(),
            warning=reading.doubt(),
            tables=[quality_table(reading.turns, verdicts), *tables] if reading.tells else tables,
            turned=turned,
            left_out=len(candidates) - len(shown),
            no_up=[plates.add(*one) for one in no_up[:MOST_WITHOUT_UP]],
            num_no_up=len(no_up),
            plates=make_sprite(plates.pixels(), PLATE_BYTES),
            review=_review(candidates, source, reading.turns, verdicts),
            command=command,
        )


class _Plates:
    """The pictures of the page."""

    def __init__(self, source: Source, crop: DataConfig, folder: Path) -> None:
        self.source, self.crop, self.folder = source, crop, folder
        self.small: list[NDArray[np.uint8]] = []

    def add(self, split: str, index: int) -> Shown:
        """Show an image."""
        images = self.source.all_splits[split]
        picture = thumbnail(images, index, self.crop)
        small = picture.resize((PLATE_SIDE, PLATE_SIDE), Image.Resampling.BOX)
        self.small.append(np.asarray(small))
        name = self.source.file_of(split, images.names[index])
        href = ""
        if isinstance(images, FileImages) and images.are_files:
            href = href_to(images.path(index), self.folder)
        return Shown(name, href, len(self.small) - 1)

    def pixels(self) -> NDArray[np.uint8]:
        """(m, T, T, 3) of all that were added."""
        empty = np.zeros((0, PLATE_SIDE, PLATE_SIDE, 3), np.uint8)
        return np.stack(self.small) if self.small else empty


def _without_up(turns: Mapping[str, Turns], verdicts: Verdicts) -> list[tuple[str, int]]:
    """Images without a clear up, those with the least of it first."""
    found = [
        (float(turns[split].agnostic[index]), split, index)
        for split, of_split in verdicts.items()
        for index, verdict in enumerate(of_split)
        if verdict == NO_UP
    ]
    return [(split, index) for _, split, index in sorted(found, key=lambda one: -one[0])]


def _review(
    candidates: Sequence[Candidate],
    source: Source,
    turns: Mapping[str, Turns],
    verdicts: Verdicts,
) -> ReviewRows:
    every = source.all_splits
    rows = [
        row_of(every[one.split], one.split, one.index, turns[one.split], verdicts[one.split])
        for one in candidates
    ]
    cells = [[str(guarded(cell)) for cell in row] for row in rows]
    return ReviewRows(COLUMNS, cells, COLUMNS.index("turn_degrees"), COLUMNS.index("apply"))


def _summary(reading: TurnReading, source: Source, num_turns: int, confidence: float) -> list[str]:
    sentences = [f"{sum(map(len, source.all_splits.values())):,} images."]
    if reading.tells:
        sentences += [
            f"About {percent(1 - float(reading.shares[0]))} are stored turned, by estimate.",
            f"{num_turns:,} {'is' if num_turns == 1 else 'are'} known to be, with a probability "
            f"of {percent(confidence)} or more.",
        ]
    return sentences


def _measures(
    reading: TurnReading, num_candidates: int, num_turns: int, confidence: float
) -> list[Measure]:
    found = []
    if reading.accuracy is not None:
        found.append(
            Measure(
                "Rotation accuracy",
                percent(reading.accuracy),
                f"of the turns of images that the network has {reading.how_learned}, judged by the "
                "other copies of the same image; guessing gives 25\u00a0%",
                "rotation",
            )
        )
    if reading.tells:
        found += [
            Measure(
                "Stored turned",
                percent(1 - float(reading.shares[0])),
                "of all images, the share that explains the predictions best",
            ),
            Measure(
                "To be turned", f"{num_turns:,}", f"with a probability of {percent(confidence)}"
            ),
            Measure(
                "To look at",
                f"{num_candidates - num_turns:,}",
                "further images that are more probably turned than not",
            ),
        ]
    return found


def count_turns(verdicts: Verdicts) -> int:
    """Images that are to be turned."""
    return sum(each in TURN.values() for of_split in verdicts.values() for each in of_split)
