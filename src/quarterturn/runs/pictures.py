"""Pictures that a run keeps for its page, and what the network said of each.

Commands run the network and write these records; the page only shows them. The images lie in
``RUN/pictures`` as small files, each once.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from PIL import Image

from quarterturn.errors import CheckpointError
from quarterturn.files import write_bytes, write_json
from quarterturn.runs.record_files import read_record, to_json

logger = logging.getLogger(__name__)

FOLDER = "pictures"
TURNS = range(4)

Shown = TypeVar("Shown")


@dataclass(frozen=True)
class Picture:
    """An image of the collection, upright, as the network sees it.

    Attributes:
        index: Its number in the set of images that it is of.
        name: Its name in the collection.
        file: Its file in ``RUN/pictures``.
    """

    index: int
    name: str
    file: str


class PictureFolder:
    """``RUN/pictures``; an image that is added twice is stored once.

    Args:
        run: The run directory.
        prefix: Beginning of the files' names, one for each set of images.
    """

    def __init__(self, run: Path, prefix: str) -> None:
        self.path, self.prefix = run / FOLDER, prefix
        self._added: dict[int, Picture] = {}
        self.path.mkdir(exist_ok=True)

    def add(self, index: int, name: str, image: Image.Image) -> Picture:
        """Store an image.

        Args:
            index: Its number in the set.
            name: Its name.
            image: Its thumbnail.
        """
        if index not in self._added:
            contents, suffix = compressed(image)
            file = f"{self.prefix}-{index}{suffix}"
            write_bytes(self.path / file, contents)
            self._added[index] = Picture(index, name, file)
        return self._added[index]


@dataclass(frozen=True)
class FourTurns:
    """What the rotation head says of an image in its four copies.

    Attributes:
        picture: The image.
        probabilities: (4, 4), copy by predicted turn; each row sums to 1. Copy k is turned by k
            quarter turns counter-clockwise.
    """

    picture: Picture
    probabilities: tuple[tuple[float, ...], ...]

    @property
    def certainty(self) -> float:
        """Mean probability of the true turn over the four copies."""
        return self.agreement(0)

    @property
    def looks_turned(self) -> int:
        """Quarter turns by which the network takes the stored image to be turned."""
        return max(TURNS, key=self.agreement)

    def agreement(self, turned_by: int) -> float:
        """Mean probability over the copies, were the stored image turned by so much already."""
        return sum(self.probabilities[k][(k + turned_by) % 4] for k in TURNS) / 4


@dataclass(frozen=True)
class Neighbor:
    """An upright image near a query; ``is_query`` where it is the query's own upright view."""

    picture: Picture
    cosine: float
    is_query: bool


@dataclass(frozen=True)
class PartNeighbors:
    """The upright images nearest to a query by one part of the features.

    Attributes:
        part: ``rotation``, ``invariant`` or ``whole``.
        nearest: Nearest first.
        own_place: Place, from 1, of the query's own upright view among all.
    """

    part: str
    nearest: tuple[Neighbor, ...]
    own_place: int


@dataclass(frozen=True)
class Neighbors:
    """A turned image, and the upright images nearest to it.

    Attributes:
        query: The image.
        turn: Quarter turns counter-clockwise, 1 to 3.
        parts: By each part of the features.
    """

    query: Picture
    turn: int
    parts: tuple[PartNeighbors, ...]


@dataclass(frozen=True)
class Gallery:
    """Pictures that show what a network has learned.

    Attributes:
        num_images: Images that were looked at.
        four_turns: A few at random in their four turns; empty without a rotation head, as the next
            three.
        surest: Rotation predicted most surely, surest first.
        least_sure: The true turn gets the least probability, least first.
        look_turned: The network takes them to be stored turned, surest first.
        neighbors: A few at random, turned, with their nearest upright images.
    """

    num_images: int
    four_turns: tuple[FourTurns, ...]
    surest: tuple[FourTurns, ...]
    least_sure: tuple[FourTurns, ...]
    look_turned: tuple[FourTurns, ...]
    neighbors: tuple[Neighbors, ...]


@dataclass(frozen=True)
class Kind:
    """A cluster of images.

    Attributes:
        size: Its images.
        typical: Those closest to their neighbours, closest first.
    """

    size: int
    typical: tuple[Picture, ...]


@dataclass(frozen=True)
class RareImage:
    """An image, and one minus the mean cosine to the nearest other images."""

    picture: Picture
    rarity: float


@dataclass(frozen=True)
class AlikePair:
    """An image and the one most like it, and their cosine."""

    first: Picture
    second: Picture
    cosine: float


@dataclass(frozen=True)
class CollectionPictures:
    """What a collection holds: kinds of images, rare ones, near-duplicates.

    Attributes:
        num_images: Images that were looked at.
        of: Images in the collection, unreadable ones included.
        kinds: Largest first.
        rarest: Rarest first.
        pairs: Most alike first.
    """

    num_images: int
    of: int
    kinds: tuple[Kind, ...]
    rarest: tuple[RareImage, ...]
    pairs: tuple[AlikePair, ...]


@dataclass(frozen=True)
class ScoredPicture:
    """An image, and how probably it looks upright in each turn.

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
    p_upright: tuple[float, ...]
    turn: int


@dataclass(frozen=True)
class Sheet:
    """Images of one kind, with their upright probabilities.

    Attributes:
        name: File stem of the contact sheet in ``RUN/figures``.
        title: Heading.
        summary: How many they are, and in which order.
        pictures: One by one.
    """

    name: str
    title: str
    summary: str
    pictures: tuple[ScoredPicture, ...]


@dataclass(frozen=True)
class Sheets:
    """The sheets of an upright run."""

    sheets: tuple[Sheet, ...]


def write_pictures(run: Path, name: str, shown: object) -> None:
    """Write a record of pictures to ``RUN/pictures/<name>.json``."""
    write_json(run / FOLDER / f"{name}.json", to_json(shown))


def read_pictures(run: Path, name: str, kind: type[Shown]) -> Shown | None:
    """The record of pictures of that name; None where the run has none, or none that can be read.

    Pictures are an extra: a page without them is better than none.
    """
    try:
        return read_record(run / FOLDER / f"{name}.json", kind)
    except FileNotFoundError:
        return None
    except CheckpointError as error:
        logger.warning(f"{error}; the page lacks these pictures")
        return None


def compressed(image: Image.Image) -> tuple[bytes, str]:
    """A picture as a file: PNG for a few flat pixels, JPEG for a photo, whichever is smaller.

    Returns:
        Contents and suffix.
    """
    as_png, as_jpeg = io.BytesIO(), io.BytesIO()
    image.save(as_png, "PNG", optimize=True)
    image.save(as_jpeg, "JPEG", quality=85)
    if as_png.tell() <= as_jpeg.tell():
        return as_png.getvalue(), ".png"
    return as_jpeg.getvalue(), ".jpg"
