"""The large pictures of a page on a collection, each once.

Shapes: m pictures that were added; T their side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quarterturn.copies.listed_images import ListedImages
from quarterturn.data.imageset import ImageSet
from quarterturn.pages.exploration import Shown
from quarterturn.pages.page import href_to

SIDE = 96
"""T, in pixels, where nothing else is asked for."""


class Plates:
    """Collects the pictures of a page.

    Args:
        listed: The images.
        folder: Of the page, from which links lead to the files.
        picture: An image set and a number in it to a picture. One that is no square fills the
            upper left of its plate.
        side: T.
        moved: Places of images whose files will be elsewhere, and where.
    """

    def __init__(
        self,
        listed: ListedImages,
        folder: Path,
        picture: Callable[[ImageSet, int], Image.Image],
        side: int = SIDE,
        moved: Mapping[int, Path] | None = None,
    ) -> None:
        self.listed, self.folder, self.picture, self.side = listed, folder, picture, side
        self.moved = {} if moved is None else moved
        self.numbers: dict[int, int] = {}
        self.drawn: list[NDArray[np.uint8]] = []
        self.shares: list[tuple[float, float]] = []

    def add(self, place: int, note: str = "") -> Shown:
        """Show the image at one of the n places."""
        if place not in self.numbers:
            self.numbers[place] = len(self.drawn)
            self._draw(place)
        number = self.numbers[place]
        file = self.moved.get(place) or self.listed.file(place)
        href = "" if file is None else href_to(file, self.folder)
        wide, high = self.shares[number]
        return Shown(self.listed.names[place], href, number, note, wide, high)

    def _draw(self, place: int) -> None:
        picture = self.picture(self.listed.images(place), int(self.listed.indices[place]))
        longest = max(picture.size)
        width, height = (max(1, round(self.side * each / longest)) for each in picture.size)
        plate = np.zeros((self.side, self.side, 3), np.uint8)
        plate[:height, :width] = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
        self.drawn.append(plate)
        self.shares.append((width / self.side, height / self.side))

    def pixels(self) -> NDArray[np.uint8]:
        """(m, T, T, 3) of all that were added."""
        empty = np.empty((0, self.side, self.side, 3), np.uint8)
        return np.stack(self.drawn) if self.drawn else empty
