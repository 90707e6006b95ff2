"""One pass over all splits of a source, with one count of the files that could not be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.imageset import ImageSet
from quarterturn.data.source import Source
from quarterturn.data.unreadable import check_unreadable
from quarterturn.progress import stage


class _HasIndices(Protocol):
    @property
    def indices(self) -> NDArray[np.int64]: ...


Result = TypeVar("Result", bound=_HasIndices)
"""Something about the images that could be read, whose numbers are ``indices``."""


def run_on_all_splits(
    name: str,
    source: Source,
    run: Callable[[ImageSet, dict[int, str]], Result],
    max_bad_fraction: float,
    *,
    is_main: bool = True,
) -> tuple[dict[str, Result], dict[str, str]]:
    """Run a function over the images of all splits, used and unused.

    Args:
        name: What is being done, beside the progress bar.
        source: The images.
        run: Takes the images of a split, and a dictionary to fill with those that cannot be
            decoded.
        max_bad_fraction: Largest share of files that may be unreadable, over all splits.
        is_main: Whether this process is given the results; of several, the others only help.

    Returns:
        Split to result, and the files that could not be read, with the reasons.

    Raises:
        DataError: Too many files cannot be read.
    """
    results, unreadable = {}, dict(source.unreadable)
    with stage(name, total=sum(map(len, source.all_splits.values()))):
        for split, images in source.all_splits.items():
            failed: dict[int, str] = {}
            results[split] = run(images, failed)
            unreadable |= {source.file_of(split, images.names[i]): why for i, why in failed.items()}
    if is_main:
        num_read = sum(len(result.indices) for result in results.values())
        check_unreadable(unreadable, num_read, max_bad_fraction)
    return results, unreadable
