"""Predicted turns of images, and the verdict on each.

Shapes: n images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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

UPRIGHT, UNSURE, UNREADABLE = "upright", "unsure", "unreadable"
NO_UP, CANNOT_TELL = "no clear up", "cannot tell yet"
"""The one is said of an image, by networks that can tell; the other of networks that cannot."""
TURN = {1: "turn 90", 2: "turn 180", 3: "turn 270"}
"""Quarter turns, counter-clockwise, in words of degrees."""
VERDICTS = (UPRIGHT, *TURN.values(), NO_UP, CANNOT_TELL, UNSURE, UNREADABLE)


@dataclass(frozen=True)
class Turns:
    """Predicted turns of a set of images.

    Attributes:
        stored: (n, 4) probabilities that the image is stored turned by 0 to 3 quarter turns
            counter-clockwise; NaN if it could not be read.
        agreed: (n, 4) the same if all turns were equally likely: what the copies say by themselves.
        agnostic: (n,) agnostic scores, from 0 to 1 (there is no "up"); NaN if it could not be read.
        scored: (n,) how each image was scored, one of ``SCORED``.
        tells: Whether the networks have learned enough to tell turns at all.
    """

    stored: Floats
    agreed: Floats
    agnostic: Floats
    scored: list[str]
    tells: bool = True

    @cached_property
    def readable(self) -> NDArray[np.bool_]:
        """(n,) which images could be read."""
        return np.isfinite(self.agnostic)

    @cached_property
    def to_upright(self) -> NDArray[np.int64]:
        """(n,) quarter turns, counter-clockwise, that most probably bring each image upright."""
        return (4 - self.stored.argmax(axis=1)) % 4

    @cached_property
    def is_turned(self) -> Floats:
        """(n,) probability that an image is stored turned, by whichever turn."""
        turned: Floats = self.stored[:, 1:].sum(axis=1)
        return turned

    def verdicts(self, agnostic: float = AGNOSTIC, confidence: float = CONFIDENCE) -> list[str]:
        """(n,) one of ``VERDICTS`` for each image.

        An image whose four copies agree on a turn has an "up", however little each of them says.

        Args:
            agnostic: Agnostic score from which an image has no "up", unless its copies agree.
            confidence: Smallest probability of a turn; other images are ``unsure``.
        """
        words = np.array([UPRIGHT, *TURN.values()])[self.to_upright]
        words = np.where(self.stored.max(axis=1) < confidence, UNSURE, words)
        has_no_up = (self.agnostic >= agnostic) & (self.agreed.max(axis=1) < confidence)
        words = np.where(has_no_up, NO_UP, words)
        words = words if self.tells else np.full(len(words), CANNOT_TELL)
        return np.where(self.readable, words, UNREADABLE).tolist()
