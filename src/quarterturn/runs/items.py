"""``items.csv``: the status of every image file."""

from __future__ import annotations

from pathlib import Path

from quarterturn.data.imageset import ImageSet
from quarterturn.data.sources import Source
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
    every = [images for images in (held_out, source.train) if images is not None]
    sizes = {
        name: size
        for images in every
        for name, size in zip(images.names, images.sizes.tolist(), strict=True)
        if size != [0, 0]
    }
    status = dict.fromkeys(source.train.names, "not used")
    status |= dict.fromkeys(held_out.names if held_out is not None else [], "held out")
    status |= dict.fromkeys(train.names, "trained on")
    status |= {name: f"unreadable: {why}" for name, why in (source.unreadable | failed).items()}
    numbers = {name: i for i, name in enumerate(train.names)}
    names = [*train.names, *(name for name in status if name not in numbers)]
    write_csv(
        path,
        ["index", "path", "height", "width", "status"],
        ([numbers.get(name, ""), name, *sizes.get(name, ("", "")), status[name]] for name in names),
    )
