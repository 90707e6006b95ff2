"""Many small pictures as one JPEG, which a page shows piece by piece.

Shapes: n pictures of T x T pixels.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 72
"""Of the JPEG. A picture costs a tenth of what it costs as a file of its own, with its tables."""
SIDES = (96, 80, 64, 56, 48, 40, 32, 24, 16)
"""Pixels a side that are tried until the sprite is small enough."""


@dataclass(frozen=True)
class Sprite:
    """Pictures in rows.

    Attributes:
        jpeg: The file.
        side: T, in pixels.
        columns: Pictures in a row.
        num_pictures: How many there are.
    """

    jpeg: bytes
    side: int
    columns: int
    num_pictures: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return max(1, math.ceil(self.num_pictures / self.columns))


def make_sprite(pictures: NDArray[np.uint8], most_bytes: int) -> Sprite:
    """Lay pictures out in a square of rows.

    Args:
        pictures: (n, T, T, 3).
        most_bytes: They are reduced until the file is no larger than this, or 16 px a side.
    """
    own = pictures.shape[1]
    sides = [own, *(side for side in SIDES if side < own)]
    columns = max(1, math.ceil(math.sqrt(len(pictures))))
    for side in sides:
        jpeg = _jpeg(pictures, side, columns)
        if len(jpeg) <= most_bytes:
            break
    return Sprite(jpeg, side, columns, len(pictures))


def _jpeg(pictures: NDArray[np.uint8], side: int, columns: int) -> bytes:
    rows = max(1, math.ceil(len(pictures) / columns))
    own = pictures.shape[1]
    sheet = np.full((rows * columns, own, own, 3), 128, np.uint8)
    sheet[: len(pictures)] = pictures
    sheet = sheet.reshape(rows, columns, own, own, 3).swapaxes(1, 2)
    image = Image.fromarray(sheet.reshape(rows * own, columns * own, 3))
    if side != own:
        image = image.resize((columns * side, rows * side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
