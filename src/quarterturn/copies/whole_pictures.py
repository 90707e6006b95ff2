"""Every image of a collection as a small picture of all of it, by which copies are found.

Not the centre crop that a network sees: two photos that differ at their sides are no copies.

Shapes: n images that could be read; T side of a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.config import DataConfig
from quarterturn.copies.listed_images import ListedImages
from quarterturn.data import crop_plans
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.source import Source
from quarterturn.data.unreadable import check_unreadable
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import is_complete
from quarterturn.progress import Stage, stage

SIDE = 32
"""T, in pixels. 24 px found the same copies; 64 px would take four times the memory."""
PICTURE, SIZE = "picture", "size"
"""Parts of an entry in the cache."""


@dataclass(frozen=True)
class WholePictures(ListedImages):
    """Small pictures of whole images, squashed to a square.

    Attributes:
        pixels: (n, T, T, 3) uint8.
        sizes: (n, 2) height and width of the images.
        unreadable: Files that could not be read, with the reason.
    """

    pixels: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    unreadable: dict[str, str]


def whole_pictures(
    source: Source,
    max_bad_fraction: float,
    cache: FeatureCache | None = None,
    *,
    workers: int = 0,
    weight: float = 1,
) -> WholePictures:
    """Look at every image once, or take what the cache has of it.

    Args:
        source: The images; all of its splits are looked at.
        max_bad_fraction: Largest share of files that may be unreadable.
        cache: A run's features; None to keep nothing.
        workers: Processes that decode files.
        weight: Of this stage within the one around it.

    Raises:
        DataError: Too many files cannot be read.
    """
    found, unreadable = {}, dict(source.unreadable)
    every = {split: images for split, images in source.all_splits.items() if len(images)}
    with stage("pictures", total=sum(map(len, every.values())), weight=weight) as bar:
        for split, images in every.items():
            failed: dict[int, str] = {}
            found[split] = _of_split(images, cache, failed, workers, bar)
            unreadable |= {source.file_of(split, images.names[i]): why for i, why in failed.items()}
    num_read = sum(len(indices) for indices, _ in found.values())
    check_unreadable(unreadable, num_read, max_bad_fraction)

    def joined(name: str) -> NDArray[Any]:
        arrays = [parts[name] for _, parts in found.values()]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    return WholePictures(
        source,
        [split for split, (indices, _) in found.items() for _ in indices],
        np.concatenate([indices for indices, _ in found.values()]),
        joined(PICTURE),
        joined(SIZE),
        unreadable,
    )


def _of_split(
    images: ImageSet,
    cache: FeatureCache | None,
    failed: dict[int, str],
    workers: int,
    bar: Stage,
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """Numbers of the images that could be read, and their parts; fills in those that failed."""
    key = _key(images)
    if cache is not None and is_complete(images, cache, key):
        bar.skip(len(images))
        numbers, kept = cache.read(key)
        missing = np.setdiff1d(np.arange(len(images)), numbers).tolist()
        failed |= dict.fromkeys(missing, "could not be decoded")
        return numbers, dict(kept)
    pixels, indices = [np.empty((0, SIDE, SIDE, 3), np.uint8)], [np.empty(0, np.int64)]
    plain = DataConfig(image_size=SIDE, mean=(0, 0, 0), std=(1, 1, 1))
    for batch in evaluation_batches(
        images, plain, workers=workers, failed=failed, view=crop_plans.squashed
    ):
        pixels.append((batch.images * 255).round().byte().permute(0, 2, 3, 1).numpy())
        indices.append(batch.indices.numpy())
        bar.advance(len(batch))
    numbers = np.concatenate(indices)
    parts: dict[str, NDArray[Any]] = {PICTURE: np.concatenate(pixels), SIZE: images.sizes[numbers]}
    if cache is not None and len(numbers):
        writer = cache.writer(key, len(images))
        try:
            for name, values in parts.items():
                writer.append(name, values)
            writer.finish(numbers)
        except BaseException:
            writer.discard()
            raise
    return numbers, parts


def _key(images: ImageSet) -> str:
    """The name of an entry in the cache."""
    files = images.files_fingerprint() if isinstance(images, FileImages) else None
    about = {"pictures": SIDE, "images": images.fingerprint(), "files": files}
    return FeatureCache.key(about, None)
