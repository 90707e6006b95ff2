"""Image files that cannot be read: listed, and too many of them refused."""

from __future__ import annotations

from quarterturn.errors import DataError

MAX_LISTED = 20


def check_unreadable(unreadable: dict[str, str], num_readable: int, max_fraction: float) -> None:
    """Stop when too many image files cannot be read.

    Args:
        unreadable: File names and reasons.
        num_readable: Image files that can be read.
        max_fraction: Largest share of all files that may be unreadable.

    Raises:
        DataError: There are more; lists the files with their reasons.
    """
    total = len(unreadable) + num_readable
    if total and len(unreadable) / total > max_fraction:
        raise DataError(
            f"{len(unreadable)} of {total} image files cannot be read "
            f"({len(unreadable) / total:.1%}; the limit --max-bad-fraction is "
            f"{max_fraction:.1%}):\n" + "\n".join(list_unreadable(unreadable))
        )


def list_unreadable(unreadable: dict[str, str], max_listed: int = MAX_LISTED) -> list[str]:
    """One line per file with its reason, for the first files, and how many more there are."""
    lines = [f"  {name}: {reason}" for name, reason in list(unreadable.items())[:max_listed]]
    if len(unreadable) > max_listed:
        lines.append(f"  ... and {len(unreadable) - max_listed} more")
    return lines
