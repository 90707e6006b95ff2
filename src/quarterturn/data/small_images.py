"""Images that are smaller than a fixed crop: they are shown whole, enlarged, and counted."""

from __future__ import annotations

import logging
from collections.abc import Collection

import numpy as np

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet

logger = logging.getLogger(__name__)


def smaller_than_crop(images: ImageSet, crop: DataConfig) -> set[int]:
    """Numbers of the images that are smaller than ``--fixed-crop``, of those that have been read.

    Args:
        images: The images.
        crop: Crop settings; without a fixed crop no image is too small.
    """
    if not crop.fixed_crop:
        return set()
    short = images.sizes.min(axis=1)
    return set(np.flatnonzero((short > 0) & (short < crop.fixed_crop)).tolist())


def warn_small(images: ImageSet, small: Collection[int], crop: DataConfig) -> None:
    """Warn about images that are smaller than a fixed crop.

    Args:
        images: The images.
        small: By `smaller_than_crop`.
        crop: Crop settings.
    """
    if small:
        logger.warning(
            f"{len(small):,} of {len(images):,} images are smaller than the crop of "
            f"{crop.fixed_crop} pixels, such as {images.names[min(small)]}: they are shown by "
            "their largest square, enlarged"
        )
