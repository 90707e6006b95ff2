"""Numbers with their nouns, as people write them."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """``1 epoch``, ``1,200 epochs``; of a noun whose plural ends in s."""
    return f"{number:,} {noun if number == 1 else noun + 's'}"
