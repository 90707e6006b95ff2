"""A time in words, such as ``30m``, ``2h`` or ``1h30m``: what a training may take."""

from __future__ import annotations

import re

from quarterturn.errors import ConfigError

AUTO, NONE = "auto", "none"
"""Words that are no time: at most an hour on a processor, and as long as the recipe takes."""
SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
"""Of each unit, the longest first, as they follow each other in words."""
LONGEST_S = 366 * 86_400
"""A longer training than a year is a slip of the finger."""


def seconds_of(words: str) -> float:
    """The seconds of a time in words.

    Args:
        words: Numbers with their units, ``d``, ``h``, ``m`` or ``s``, each at most once and the
            longest first: ``90s``, ``1.5h``, ``1h30m``.

    Raises:
        ConfigError: It is none, or not between a second and a year.
    """
    parts = "".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in SECONDS)
    found = re.fullmatch(parts, words.replace(" ", "").lower())
    numbers = ["0"] * len(SECONDS) if found is None else found.groups(default="0")
    seconds = sum(float(n) * s for n, s in zip(numbers, SECONDS.values(), strict=True))
    if not 1 <= seconds <= LONGEST_S:
        raise ConfigError(
            f"--budget is {words!r}; expected a time from 1s to 366d, with its units: 30m, 2h, "
            "1h30m"
        )
    return seconds


def check_budget(words: str) -> None:
    """Refuse what is neither a time nor one of the words in place of one.

    Raises:
        ConfigError: As `seconds_of` has it.
    """
    if words not in (AUTO, NONE):
        seconds_of(words)


def both_given(budget: str, epochs: object) -> ConfigError:
    """The error where both a time and a number of epochs are asked for."""
    return ConfigError(
        f"give --budget {budget} or --epochs {epochs}, not both: the budget chooses the epochs"
    )
