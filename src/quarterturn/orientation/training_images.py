"""Which images a run has learned from, wherever they turn up."""

from __future__ import annotations

from quarterturn.data.identity import identity
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.selection import Selection, select_images
from quarterturn.data.sources import locate
from quarterturn.errors import DataError
from quarterturn.runs import Run


def learned_images(run: Run, data: str) -> dict[str, str] | None:
    """The images that a run has learned from: what each is known by, and its name in the run.

    Where files of the run's data have come or gone since, all its training images are listed, of
    which the run knows some. Where the data is gone, a collection with its fingerprint is taken for
    it, as one that has been moved; not otherwise, since uncompressed images of one size share it.

    Args:
        run: A run of ``pretrain``, or of ``upright``, whose networks together learn from all.
        data: DATA whose images are asked about.

    Returns:
        `identity` to name; None where the run's data is gone, and ``data`` is something else.

    Raises:
        DataError: The run's data is an archive that holds other images now.
    """
    if run.data is None:  # imported weights do not tell what they have learned from
        return None
    for place in dict.fromkeys([run.data, locate(data)]):
        try:
            found = select_images(place, run.config.data, index=run.index)
        except DataError:
            continue  # it is gone, or cannot be parted as the run's data was
        learned = _learned(run, found)
        if learned.fingerprint() == run.fingerprint:
            return _named(learned, place)
        if place == run.data:
            if isinstance(learned, ArrayImages):
                run.require_images(learned)
            return _named(found.source.train, place)
    return None


def _learned(run: Run, images: Selection) -> ImageSet:
    return images.chosen if run.kind == "upright" else images.train


def _named(images: ImageSet, data: str) -> dict[str, str]:
    return {identity(images, index, data): name for index, name in enumerate(images.names)}
