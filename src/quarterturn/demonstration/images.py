"""What a demo learns from and is tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quarterturn.data.class_matching import match_classes
from quarterturn.data.downscaled import load_downscaled
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.source import Source
from quarterturn.data.sources import MIN_IMAGES
from quarterturn.data.subsets import limit_images, stratified_split
from quarterturn.errors import DataError
from quarterturn.methods.configuration import Config
from quarterturn.randomness import permutation

TEST_FRACTION = 0.25
"""Of images without a test split of their own."""
STORED_SIDE = 1.5
"""Photos are kept in memory at this multiple of the crop's side."""


@dataclass(frozen=True)
class DemoImages:
    """Images to learn from and to test on, and a sentence on how they were parted."""

    train: ImageSet
    test: ImageSet
    description: str


def split_images(source: Source, config: Config, limit: int | None) -> DemoImages:
    """The data's own split, or one by seed; photos are shrunk into memory."""
    if source.test is not None:
        train = _small(source, source.train, config, limit)
        test: ImageSet = _small(source, source.test, config, limit)
        how = f"the data's own split {source.test_name!r}"
        if train.labels is not None and test.labels is not None:
            test = match_classes(test, train)
        else:
            # Without labels on both sides nothing can be probed.
            train = replace(train, labels=None, class_names=[])
    else:
        images = _small(source, source.train, config, limit)
        if images.labels is not None:
            parts = stratified_split(images.labels, TEST_FRACTION, seed=0)
        else:
            order = permutation(len(images), 0, "demo test images").numpy()
            middle = round(len(images) * TEST_FRACTION)
            parts = np.sort(order[middle:]), np.sort(order[:middle])
        train, test = images.subset(parts[0]), images.subset(parts[1])
        how = f"{TEST_FRACTION:.0%} held out by seed 0" + (
            ", each class alike" if images.labels is not None else "; there are no labels"
        )
    if min(len(train), len(test)) < MIN_IMAGES:
        raise DataError(
            f"{len(train)} images to learn from and {len(test)} to test on are too few for a demo: "
            f"at least {MIN_IMAGES} of each are needed"
        )
    return DemoImages(train, test, f"{len(train):,} to learn from, {len(test):,} to test on: {how}")


def _small(source: Source, images: ImageSet, config: Config, limit: int | None) -> ArrayImages:
    chosen = limit_images(images, limit)
    if isinstance(chosen, ArrayImages):
        return chosen
    side = round(config.data.image_size * STORED_SIDE)
    shrunk, failed = load_downscaled(chosen, side, config.machine.num_workers)
    source.check_failures(failed, len(chosen), config.data.max_bad_fraction)
    source.unreadable |= failed
    return shrunk
