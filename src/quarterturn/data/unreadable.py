"""Image files that cannot be read: listed, and too many of them refused."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from quarterturn.errors import DataError
from quarterturn.wording import counted

if TYPE_CHECKING:  # they load torch, which the closing words of a command do not need
    from quarterturn.data.imageset import ImageSet
    from quarterturn.data.indexed_files import Sample

logger = logging.getLogger(__name__)

MAX_LISTED = 20
DEVIATIONS = 4
"""Standard deviations by which a sample's unreadable files have to exceed the limit."""


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
            f"{len(unreadable):,} of {counted(total, 'image file')} cannot be read "
            f"({len(unreadable) / total:.1%}; the limit --max-bad-fraction is "
            f"{max_fraction:.1%}):\n" + "\n".join(list_unreadable(unreadable)) + f"\n{_ADVICE}"
        )


def check_sample(
    num_files: int, sample: Sample, unreadable: dict[str, str], max_fraction: float
) -> None:
    """Stop when a sample says that too many image files cannot be read.

    The share in the sample has to exceed the limit by so much that it is no accident.

    Args:
        num_files: Image files in all.
        sample: Those of them whose headers have been read.
        unreadable: Files that cannot be read, with the reason.
        max_fraction: Largest share of all files that may be unreadable.

    Raises:
        DataError: The sample says that there are more; lists the files with their reasons.
    """
    deviation = math.sqrt(sample.num_files * max_fraction * (1 - max_fraction))
    if sample.num_unreadable > sample.num_files * max_fraction + DEVIATIONS * deviation:
        share = sample.num_unreadable / sample.num_files
        raise DataError(
            f"{sample.num_unreadable:,} of {sample.num_files:,} image files, a random sample of "
            f"{num_files:,}, cannot be read ({share:.1%}; the limit --max-bad-fraction is "
            f"{max_fraction:.1%}):\n" + "\n".join(list_unreadable(unreadable)) + f"\n{_ADVICE}"
        )


_ADVICE = (
    "mend or remove them, or leave them out with a higher --max-bad-fraction; trainings decode "
    "every file before they begin with --verify"
)


def warn_changed(images: ImageSet, changed: Collection[int]) -> None:
    """Warn about files that have changed since they were indexed, and were read as they are now.

    Args:
        images: The images.
        changed: Numbers of those that have changed.
    """
    if changed:
        logger.warning(
            f"{len(changed):,} of {counted(len(images), 'image file')} changed while they "
            f"were read, such as {images.names[min(changed)]}: the results are of mixed contents"
        )


def list_unreadable(unreadable: Mapping[str, str], max_listed: int = MAX_LISTED) -> list[str]:
    """One line per file with its reason, for the first files, and how many more there are."""
    lines = [f"  {name}: {reason}" for name, reason in list(unreadable.items())[:max_listed]]
    if len(unreadable) > max_listed:
        lines.append(f"  ... and {len(unreadable) - max_listed:,} more")
    return lines
