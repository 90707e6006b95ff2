"""Predicted turns of images, and the verdict on each.

Shapes: n images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.source import Source
from quarterturn.files import write_csv
from quarterturn.orientation.options import OrientOptions
from quarterturn.orientation.scores import AGNOSTIC, Floats

OUT_OF_FOLD, NEW, IN_SAMPLE = "out of fold", "new", "in sample"
"""How an image was scored: by the fold network of an `upright` run that held it out; by networks
that were not trained on it; or by a network that was, and is overconfident."""
SCORED = (OUT_OF_FOLD, NEW, IN_SAMPLE)

CONFIDENCE = OrientOptions.confidence
"""Smallest probability at which an image is turned, unless the user sets another. Most images are
stored upright, and turning one of those is worse than leaving a turned one; with calibrated
probabilities a fifth of the images at the threshold are turned wrongly, and far fewer above it."""

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
    """Predicted turns of a set of images.

    Attributes:
        stored: (n, 4) probabilities that the image is stored turned by 0 to 3 quarter turns
            counter-clockwise; NaN if it could not be read.
        agnostic: (n,) agnostic scores, from 0 to 1 (there is no "up"); NaN if it could not be read.
        scored: (n,) how each image was scored, one of ``SCORED``.
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
            agnostic: Agnostic score from which an image has no "up".
            confidence: Smallest probability of a turn; other images are ``unsure``.
        """
        words = np.array([UPRIGHT, *TURN.values()])[self.to_upright]
        words = np.where(self.stored.max(axis=1) < confidence, UNSURE, words)
        words = np.where(self.agnostic >= agnostic, NO_UP, words)
        return np.where(self.readable, words, UNREADABLE).tolist()


def write_turns(
    path: Path, source: Source, turns: dict[str, Turns], verdicts: dict[str, list[str]]
) -> None:
    """Write a csv file with one line per image file, unreadable ones last.

    ``turn_degrees`` is the most probable turn, counter-clockwise, whatever the verdict.

    Args:
        path: The file.
        source: The images.
        turns: Split to predicted turns.
        verdicts: Split to verdicts.
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
