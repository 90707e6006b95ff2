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
        low = self.at_least if self.above is None else self.above
        high = self.at_most if self.below is None else self.below
        if high is None:
            if self.above is not None:
                return "positive" if low == 0 else f"above {low:g}"
            return "finite" if low is None else f"{low:g} or more"
        upper = f"below {high:g}" if self.at_most is None else f"{high:g}"
        if low is None:
            return upper if self.at_most is None else f"{upper} or less"
        if self.above is None:
            return f"from {low:g} to {upper}"
        return f"above {low:g}, {upper if self.at_most is None else f'up to {upper}'}"


Count = Annotated[int, Bounds(at_least=1)]
"""A whole number from 1 on."""
CountOrZero = Annotated[int, Bounds(at_least=0)]
"""A whole number from 0 on."""
ImageCount = Annotated[int, Bounds(at_least=8)]
"""Images that something is learned from: fewer than these are no data set."""
BatchSize = Annotated[int, Bounds(at_least=2)]
"""Images in a batch; batch norm needs two."""
Seed = Annotated[int, Bounds(at_least=0)]
"""Of random draws."""
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
