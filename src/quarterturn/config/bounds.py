"""Which numbers a setting may take: written in its type, ``Annotated[float, Bounds(above=0)]``.

The command line ignores this metadata, so one annotation is the flag's type, the check of
`quarterturn.config.validation` and, read by a person, the documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

LARGEST = 10**9
"""No setting is larger than this, whatever its bounds: more would overflow somewhere later on."""


@dataclass(frozen=True)
class Bounds:
    """An interval; a side without a number is open.

    Attributes:
        at_least: Least value allowed.
        above: Every allowed value is larger than this.
        at_most: Largest value allowed.
        below: Every allowed value is smaller than this.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def contain(self, value: float) -> bool:
        """Whether a number lies within; NaN lies nowhere, and nothing lies beyond `LARGEST`."""
        return (
            abs(value) <= LARGEST  # NaN is not
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """For messages: ``positive``, ``1 or more``, ``from 0 to below 1``."""

        def shown(number: float | None) -> str:
            return f"{number:,}" if isinstance(number, int) else f"{number:g}"

        low = self.at_least if self.above is None else self.above
        high = self.at_most if self.below is None else self.below
        if high is None:
            if self.above is not None:
                return "positive" if low == 0 else f"above {shown(low)}"
            return "finite" if low is None else f"{shown(low)} or more"
        upper = f"below {shown(high)}" if self.at_most is None else shown(high)
        if low is None:
            return upper if self.at_most is None else f"{upper} or less"
        if self.above is None:
            return f"from {shown(low)} to {upper}"
        return f"above {shown(low)}, {upper if self.at_most is None else f'up to {upper}'}"


Count = Annotated[int, Bounds(at_least=1)]
"""A whole number from 1 on."""
CountOrZero = Annotated[int, Bounds(at_least=0)]
"""A whole number from 0 on."""
ImageCount = Annotated[int, Bounds(at_least=8)]
"""Images that something is learned from: fewer than these are no data set."""
BatchSize = Annotated[int, Bounds(at_least=2)]
"""Images in a batch; batch norm needs two."""
Seed = Annotated[int, Bounds(at_least=0, at_most=LARGEST)]
"""Of random draws."""
Side = Annotated[int, Bounds(at_least=8, at_most=16_384)]
"""Pixels along the side of a crop; more than any camera's sensor has is a slip of the finger."""
JpegQuality = Annotated[int, Bounds(at_least=1, at_most=100)]
"""As Pillow counts it; above 95 files grow and images hardly gain."""
Width = Annotated[int, Bounds(at_least=1, at_most=65_536)]
"""Of a layer."""
NoiseCount = Annotated[int, Bounds(at_least=1, at_most=1_000_000)]
"""Noise samples of a step."""
ClassCount = Annotated[int, Bounds(at_least=1, at_most=1_000_000)]
"""Classes of a classifier."""
Repetitions = Annotated[int, Bounds(at_least=1, at_most=1_000)]
"""How often a whole training, or a whole evaluation, is repeated."""
SmallViews = Annotated[int, Bounds(at_least=0, at_most=64)]
"""Small views of each image."""
White = Annotated[int, Bounds(at_least=1, at_most=65_535)]
"""A grey value of 16 bits."""
Processes = Annotated[int, Bounds(at_least=0, at_most=1_024)]
"""Processes that one command starts."""
Positive = Annotated[float, Bounds(above=0)]
"""A number above 0."""
PositiveOrZero = Annotated[float, Bounds(at_least=0)]
"""A number from 0 on."""
Fraction = Annotated[float, Bounds(at_least=0, at_most=1)]
"""A share, from 0 to 1."""
FractionBelowOne = Annotated[float, Bounds(at_least=0, below=1)]
"""A share, from 0 to below 1."""
PositiveFraction = Annotated[float, Bounds(above=0, at_most=1)]
"""A share above 0, up to 1."""
