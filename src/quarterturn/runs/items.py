"""``items.csv``: the status of every image file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.imageset import ImageSet
from quarterturn.data.source import Source
from quarterturn.files import write_csv


def write_items(
    path: Path,
    source: Source,
    train: ImageSet,
    held_out: ImageSet | None,
    failed: dict[str, str],
) -> None:
    """Write ``items.csv``: every image file, its number in the training, size and status.

    Args:
        path: Where.
        source: The data, with what could not be read.
        train: The images that are learned from; their order gives the numbers.
        held_out: Images kept out for diagnostics.
        failed: Images of either that could not be decoded after all, by name, with the reason.
    """
    unreadable = {name: f"unreadable: {why}" for name, why in (source.unreadable | failed).items()}
    write_csv(
        path,
        ["index", "path", "height", "width", "status"],
        _rows(source.train, train, held_out, unreadable),
    )


def _rows(
    all_train: ImageSet, train: ImageSet, held_out: ImageSet | None, unreadable: dict[str, str]
) -> Iterator[list[object]]:
    """The lines one by one: of a million images, their sizes by name would take half a gigabyte."""
    sizes, trained = train.sizes, set(train.names)
    for number, name in enumerate(train.names):
        yield [number, name, *_size(sizes[number]), unreadable.get(name, "trained on")]
    others: dict[str, list[object]] = {}
    for images, status in ((all_train, "not used"), (held_out, "held out")):
        if images is None:
            continue
        sizes = images.sizes
        for number, name in enumerate(images.names):
            if name not in trained:
                size = _size(sizes[number])
                before = others.get(name)
                others[name] = [*(size if before is None else before[:2]), status]
    others |= {name: ["", "", why] for name, why in unreadable.items() if name not in others}
    for name, (height, width, known) in others.items():
        if name not in trained:
            yield ["", name, height, width, unreadable.get(name, known)]


def _size(size: NDArray[np.int64]) -> list[object]:
    """Height and width; two empty cells where they are not known."""
    return list(size.tolist()) if size.any() else ["", ""]
