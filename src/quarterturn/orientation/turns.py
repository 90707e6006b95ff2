"""What is known of the turns of images, and what it comes to for each.

Shapes: n images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.sources import Source
from quarterturn.files import write_csv
from quarterturn.orientation.scores import AGNOSTIC, Floats

OUT_OF_FOLD, NEW, IN_SAMPLE = "out of fold", "new", "in sample"
"""How an image is scored: by the one network of an `upright` run that held it out; by networks
that it is new to; or by a network that has learned from it, which is surer than it should be."""
SCORED = (OUT_OF_FOLD, NEW, IN_SAMPLE)

CONFIDENCE = 0.8
"""An image with a less probable turn is left as it is, unless the user sets another. Most images
are stored upright, and to turn one of those is worse than to leave a turned one; by calibrated
probabilities, a fifth of the images at the threshold are turned wrongly, and far fewer above it."""

UPRIGHT, NO_UP, UNSURE, UNREADABLE = "upright", "no up", "unsure", "unreadable"
TURN = {1: "turn 90", 2: "turn 180", 3: "turn 270"}
"""Quarter turns, counter-clockwise, in words of degrees."""
VERDICTS = (UPRIGHT, *TURN.values(), NO_UP, UNSURE, UNREADABLE)

COLUMNS = [
    "index",
    "path",
    "split",
    "scored",
    "turn_degrees",
    "probability",
    "agnostic",
    "verdict",
]


@dataclass(frozen=True)
class Turns:
    """What is known of the turns of a set of images.

    Attributes:
        stored: (n, 4) probability that the image is stored turned by so many quarter turns
            counter-clockwise; NaN where it could not be read.
        agnostic: (n,) agnostic scores, from 0 to 1 (there is no "up"); NaN likewise.
        scored: (n,) how each image was scored; it says nothing where it could not be read.
    """

    stored: Floats
    agnostic: Floats
    scored: list[str]

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(n,) which images could be read."""
        return np.isfinite(self.agnostic)

    @property
    def to_upright(self) -> NDArray[np.int64]:
        """(n,) quarter turns, counter-clockwise, that most probably bring each image upright."""
        return (4 - self.stored.argmax(axis=1)) % 4

    def verdicts(self, agnostic: float = AGNOSTIC, confidence: float = CONFIDENCE) -> list[str]:
        """(n,) one of ``VERDICTS`` for each image.

        Args:
            agnostic: Images with this agnostic score or more have no "up".
            confidence: Of the others, those whose turn is less probable are unsure.
        """
        words = np.array([UPRIGHT, *TURN.values()])[self.to_upright]
        words = np.where(self.stored.max(axis=1) < confidence, UNSURE, words)
        words = np.where(self.agnostic >= agnostic, NO_UP, words)
        return np.where(self.readable, words, UNREADABLE).tolist()


def write_turns(
    path: Path, source: Source, turns: dict[str, Turns], verdicts: dict[str, list[str]]
) -> None:
    """Write one line for each image file, those that cannot be read last.

    ``turn_degrees`` is counter-clockwise, and the most probable turn also where the verdict is that
    the image is not to be turned.

    Args:
        path: Where.
        source: The images.
        turns: What is known of the images of each split.
        verdicts: The verdicts on them.
    """
    rows: list[list[Any]] = []
    for split, images in source.splits.items():
        found, verdict = turns[split], verdicts[split]
        probability = found.stored.max(axis=1)
        for i, name in enumerate(images.names):
            known: list[Any] = [""] * 4
            if found.readable[i]:
                known = [
                    found.scored[i],
                    90 * found.to_upright[i],
                    f"{probability[i]:.4f}",
                    f"{found.agnostic[i]:.4f}",
                ]
            rows.append([i, name, split, *known, verdict[i]])
    rows += [["", name, "", *[""] * 4, UNREADABLE] for name in source.unreadable]
    write_csv(path, COLUMNS, rows)
