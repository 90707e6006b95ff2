"""Groups of duplicates in words and pictures, for pages and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

from quarterturn.copies.duplicate_groups import EXACT, MIRRORED, NEAR, TURNED, Copy
from quarterturn.copies.plates import Plates
from quarterturn.pages.exploration import GroupShown

KINDS = (TURNED, MIRRORED, NEAR, EXACT)
"""Kinds of copies, those first that are harder to find by other means."""


def varied(groups: Sequence[list[Copy]]) -> list[list[Copy]]:
    """Groups in turn by what they are of, so that the first few show every kind of copy."""
    by_kind: dict[str, list[list[Copy]]] = {kind: [] for kind in KINDS}
    for group in groups:
        kinds = {copy.kind for copy in group}
        by_kind[next(kind for kind in KINDS if kind in kinds)].append(group)
    rounds = zip_longest(*by_kind.values())
    return [group for of_round in rounds for group in of_round if group is not None]


def group_shown(
    group: Sequence[Copy],
    plates: Plates,
    most: int,
    words_of: Callable[[Copy], str] | None = None,
) -> GroupShown:
    """A group on a page.

    Args:
        group: Its images.
        plates: Takes their pictures.
        most: How many of them are shown.
        words_of: What is said of one; by default `copy_words`.
    """
    words = group[1].kind if len(group) == 2 else kind_words(group)
    if len(group) > most:
        words += f"; the first {most} of {len(group):,} images"
    say = words_of or copy_words
    return GroupShown(words, [plates.add(copy.place, say(copy)) for copy in group[:most]])


def kind_words(copies: Iterable[Copy]) -> str:
    """How many copies of each kind: ``2 turned, 1 near``."""
    counts = Counter(copy.kind for copy in copies)
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS if counts[kind])


def copy_words(copy: Copy) -> str:
    """What a copy is, in a few words: ``turned 90°, 0.99``."""
    angle = f" {copy.angle}°" if copy.angle else ""
    return "" if not copy.kind else f"{copy.kind}{angle}, {copy.score:.2f}"
