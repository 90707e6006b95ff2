"""Image files downscaled into memory, so that a small collection is decoded once."""

from __future__ import annotations

import numpy as np

from quarterturn.config import DataConfig
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.unreadable import list_unreadable
from quarterturn.errors import DataError


def load_downscaled(
    images: ImageSet, side: int, workers: int = 0
) -> tuple[ArrayImages, dict[str, str]]:
    """Load the centre squares of all images, resized to ``side`` pixels, as one array.

    Returns:
        The images that could be decoded, and the others by name with the reason.

    Raises:
        DataError: No image could be decoded.
    """
    plain = DataConfig(image_size=side, eval_crop=1.0, mean=(0, 0, 0), std=(1, 1, 1))
    failed: dict[int, str] = {}
    pixels, indices = [], []
    for batch in evaluation_batches(images, plain, workers=workers, failed=failed):
        pixels.append((batch.images * 255).round().byte().permute(0, 2, 3, 1).numpy())
        indices.append(batch.indices.numpy())
    unreadable = {images.names[i]: reason for i, reason in failed.items()}
    if not indices:
        raise DataError(
            "none of the images can be decoded:\n" + "\n".join(list_unreadable(unreadable))
        )
    decoded = np.concatenate(indices)
    return (
        ArrayImages(
            np.concatenate(pixels),
            [images.names[i] for i in decoded],
            None if images.labels is None else images.labels[decoded],
            images.class_names,
            label_sets=None if images.label_sets is None else images.label_sets[decoded],
        ),
        unreadable,
    )
