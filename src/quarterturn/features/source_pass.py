"""One pass over all images of a source, with what could not be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.imageset import ImageSet
from quarterturn.data.sources import Source
from quarterturn.data.unreadable import check_unreadable, list_unreadable


class _Found(Protocol):
    @property
    def indices(self) -> NDArray[np.int64]: ...


Found = TypeVar("Found", bound=_Found)
"""What is found of the images that could be read, whose numbers are ``indices``."""


def run_on_all_splits(
    source: Source,
    find: Callable[[ImageSet, dict[int, str]], Found],
    max_bad_fraction: float,
) -> tuple[dict[str, Found], list[str]]:
    """Look at the images of every split, those that nothing else uses as well.

    Args:
        source: The images.
        find: Gets the images of a split, and a dictionary for those that it cannot decode.
        max_bad_fraction: The most files that may be unreadable, of all splits together.

    Returns:
        Split to what was found, and lines on the files that were left out.

    Raises:
        DataError: They are too many.
    """
    found, left_out = {}, dict(source.unreadable)
    for split, images in source.all_splits.items():
        failed: dict[int, str] = {}
        found[split] = find(images, failed)
        left_out |= {source.file_of(split, images.names[i]): why for i, why in failed.items()}
    num_read = sum(len(of_split.indices) for of_split in found.values())
    check_unreadable(left_out, num_read, max_bad_fraction)
    lines = [f"unreadable files left out: {len(left_out)}", *list_unreadable(left_out)]
    return found, lines if left_out else []
